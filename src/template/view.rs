//! What the templates of one event see, and how much they may still do.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
};
use serde_json::Value;

/// The work that all templates of one event may do: each byte that is written is one. Far above any notification, and
/// low enough that no loop inside a loop takes the gateway down.
const MOST_WORK: u32 = 16 << 20;
/// What a leaf and a round of a loop cost besides what they write.
const ROUND: u32 = 64;

const ITEM: &str = "item";

pub const TOO_MUCH: &str = "the templates of this event loop too often or write too much";

/// What the templates of one event see.
pub struct View<'a> {
    pub(super) event: &'a Value,
    /// What stands beside the event, and before what it has of the same name.
    pub(super) beside: Vec<(&'static str, Cow<'a, Value>)>,
    /// All of it for Handlebars, from the first template on that it is needed for.
    context: OnceCell<Context>,
    work: Work,
}

/// The work that is left.
#[derive(Clone)]
pub struct Work(Arc<AtomicU32>);

impl<'a> View<'a> {
    pub fn new(event: &'a Value, beside: Vec<(&'static str, Cow<'a, Value>)>) -> Self {
        Self { event, beside, context: OnceCell::new(), work: Work(Arc::new(AtomicU32::new(MOST_WORK))) }
    }

    /// Sets or removes what templates see as `item`.
    pub fn set_item(&mut self, item: Option<&'a Value>) {
        self.beside.retain(|(name, _)| *name != ITEM);
        self.beside.extend(item.map(|item| (ITEM, Cow::Borrowed(item))));
        let item = item.or_else(|| self.event.get(ITEM));
        if let Some(Value::Object(data)) = self.context.get_mut().map(Context::data_mut) {
            match item {
                Some(item) => data.insert(ITEM.to_owned(), item.clone()),
                None => data.remove(ITEM),
            };
        }
    }

    pub fn context(&self) -> &Context {
        self.context.get_or_init(|| {
            let mut data = self.event.as_object().cloned().unwrap_or_default();
            data.extend(self.beside.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned())));
            Context::from(Value::Object(data))
        })
    }

    /// Takes account of what no template writes.
    ///
    /// # Errors
    /// It is too much.
    pub fn spend(&self, bytes: usize) -> Result<(), String> {
        self.work.spend(bytes).then_some(()).ok_or_else(|| TOO_MUCH.to_owned())
    }

    /// Looks at something without taking account of it.
    pub fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let left = self.work.0.load(Relaxed);
        let seen = look();
        self.work.0.store(left, Relaxed);
        seen
    }

    /// An empty page to write a leaf on.
    pub fn page(&self) -> Page {
        Page { text: String::new(), work: self.work.clone() }
    }

    /// What counts the rounds of a leaf's loops.
    pub fn round(&self) -> Round {
        Round(self.work.clone())
    }
}

impl Work {
    /// Whether there was enough of it left.
    fn spend(&self, bytes: usize) -> bool {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ROUND);
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(cost)).is_ok()
    }
}

/// What a template writes.
pub struct Page {
    pub text: String,
    work: Work,
}

impl Output for Page {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if !self.work.spend(text.len()) {
            return Err(io::Error::other(TOO_MUCH));
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// The helper that stands at the start of every loop.
pub struct Round(Work);

impl HelperDef for Round {
    fn call<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        match self.0.spend(0) {
            true => Ok(()),
            false => Err(RenderError::from(RenderErrorReason::Other(TOO_MUCH.to_owned()))),
        }
    }
}
