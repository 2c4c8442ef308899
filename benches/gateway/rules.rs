//! The files of rules that the gateway runs with.

use std::net::SocketAddr;

use deskbell::clerk;

use crate::webhook::SECRET;

/// What differs from the rules of a plain gateway.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    /// Lines at the top level.
    pub settings: &'static str,
    /// Routes that do not want what is sent, over all types of events.
    pub more_routes: usize,
}

impl Rules {
    pub fn text(&self, novu: SocketAddr) -> String {
        let types: Vec<&str> = clerk::event_types().collect();
        let more: String =
            (0..self.more_routes).zip(types.iter().cycle()).map(|(number, kind)| route(number, kind)).collect();
        format!(
            "sources: {{ clerk: {{ signing_secrets: [{SECRET}] }} }}\n\
             novu: {{ api_url: \"http://{novu}\", secret_key: key-of-the-benchmark }}\n\
             {}\nroutes:\n  - {{ event: user.created, workflow: welcome }}\n{more}",
            self.settings
        )
    }
}

fn route(number: usize, kind: &str) -> String {
    format!(
        "  - {{ name: r{number}, event: {kind}, workflow: w{number}, subscriber: {{ subscriberId: \"{{{{data.id}}}}\" }}, \
         filter: \"$.data.public_metadata.plan == '{number}'\", payload: {{ name: \"{{{{full_name}}}}\" }} }}\n"
    )
}
