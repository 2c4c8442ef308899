//! The figures of all rounds as a table, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::lines::{Bound, Figure, Line};
use crate::quiet::{OTHERS, QUIET};

/// What each round has measured.
#[derive(Default)]
pub struct Rounds(Vec<BTreeMap<Figure, f64>>);

impl Rounds {
    pub fn push(&mut self, round: BTreeMap<Figure, f64>) {
        self.0.push(round);
    }

    /// How much other programs have had of the processors, at most.
    fn others(&self) -> f64 {
        let all = self.0.iter().flatten().filter(|((_, figure), _)| *figure == OTHERS);
        all.map(|(_, share)| *share).fold(0.0, f64::max)
    }

    fn figures(&self, figure: Figure) -> Spread {
        Spread::of(self.0.iter().filter_map(|round| round.get(&figure).copied()).collect())
    }

    /// Within each round: what the machine does besides hits both alike.
    fn ratios(&self, figure: Figure, against: Figure) -> Spread {
        Spread::of(self.0.iter().filter_map(|round| Some(round.get(&figure)? / round.get(&against)?)).collect())
    }
}

/// The same figure of several rounds.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let middle = |at: usize| figures.get(at).copied().unwrap_or(f64::NAN);
        let count = figures.len();
        let median = (middle(count.saturating_sub(1) / 2) + middle(count / 2)) / 2.0;
        Self { median, least: middle(0), most: middle(count.saturating_sub(1)) }
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

/// A line of the table with its figures.
struct Judged<'a> {
    line: &'a Line,
    figure: Spread,
    against: Option<Spread>,
    ratio: Option<Spread>,
}

impl<'a> Judged<'a> {
    fn new(line: &'a Line, rounds: &Rounds) -> Self {
        Self {
            line,
            figure: rounds.figures(line.figure),
            against: line.against.map(|against| rounds.figures(against)),
            ratio: line.against.map(|against| rounds.ratios(line.figure, against)),
        }
    }

    fn is_kept(&self) -> Option<bool> {
        let judged = self.ratio.as_ref().unwrap_or(&self.figure).median;
        self.line.must.as_ref().map(|must| match must {
            Bound::AtLeast(bound) => judged >= *bound,
            Bound::AtMost(bound) => judged <= *bound,
        })
    }

    fn markdown(&self) -> String {
        let Spread { median, least, most } = &self.figure;
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let must = match &self.line.must {
            Some(Bound::AtLeast(bound)) => format!("≥ {}", number(*bound)),
            Some(Bound::AtMost(bound)) => format!("≤ {}", number(*bound)),
            None => String::new(),
        };
        let cells = [
            self.line.what.to_owned(),
            format!("{} {} ({}–{})", number(*median), self.line.unit, number(*least), number(*most)),
            optional(self.against.as_ref().map(|against| against.median)),
            self.ratio.as_ref().map_or(String::new(), |ratio| {
                format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most)
            }),
            must,
            optional(self.line.aim),
            self.is_kept().map_or("", |kept| if kept { "yes" } else { "**no**" }).to_owned(),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn json(&self) -> Value {
        let Line { part, what, unit, must, aim, .. } = self.line;
        let must = must.as_ref().map(|must| match must {
            Bound::AtLeast(bound) => json!({"at_least": bound}),
            Bound::AtMost(bound) => json!({"at_most": bound}),
        });
        json!({
            "part": part, "what": what, "unit": unit, "figure": self.figure.json(),
            "against": self.against.as_ref().map(Spread::json), "ratio": self.ratio.as_ref().map(Spread::json),
            "must": must, "aim": aim, "kept": self.is_kept(),
        })
    }
}

/// The table as Markdown and as JSON.
pub fn report(title: &str, lines: &[&Line], rounds: &Rounds) -> (String, Value) {
    let judged: Vec<Judged<'_>> = lines.iter().map(|line| Judged::new(line, rounds)).collect();
    let mut markdown = format!(
        "{title}\n\n| what | figure (least–most) | against | ratio | must | aim | kept |\n|---|---|---|---|---|---|---|\n"
    );
    for line in &judged {
        writeln!(markdown, "{}", line.markdown()).expect("memory");
    }
    if rounds.others() > QUIET {
        let others = number(rounds.others());
        writeln!(
            markdown,
            "\nOther programs had up to {others} % of the processors: figures of a quiet machine differ."
        )
        .expect("memory");
    }
    let rounds: Vec<Value> = rounds.0.iter().map(round_json).collect();
    let lines: Vec<Value> = judged.iter().map(Judged::json).collect();
    (markdown, json!({"title": title, "lines": lines, "rounds": rounds}))
}

fn round_json(round: &BTreeMap<Figure, f64>) -> Value {
    let mut json = json!({});
    for ((measurement, figure), value) in round {
        json[*measurement][*figure] = json!(value);
    }
    json
}

/// Three digits, or whole thousands apart.
pub fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        ..100.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => {
            let digits = format!("{value:.0}");
            let chunks: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().map(|chunk| std::str::from_utf8(chunk).unwrap_or("")).collect();
            chunks.join(" ")
        }
    }
}
