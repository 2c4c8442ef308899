//! Real files of rules, spoiled: pieces moved, repeated, nested and replaced by what is special somewhere.

use std::cell::Cell;
use std::path::Path;

#[rustfmt::skip]
const PIECES: &[&str] = &[
    // YAML
    ": ", "- ", "? ", "{", "}", "[", "]", ",", "#", "|", ">", "|+2\n", "&a ", "*a", "<<: *a", "!", "!!str ", "!x ",
    "%YAML 1.2\n", "---\n", "...\n", "~", "null", "\"", "'", "\"\\u0000\"", "\"\\x1b[31m\"", "\t", "\r\n", "\n",
    "\u{feff}", "\u{2028}", "\u{85}", "\u{0}", "é", "😀", "\u{301}", "\u{202e}", "1e999", "-0", "0x1F", "0o17", ".inf",
    ".nan", "18446744073709551616", "1_000", "12:30:45", "2001-01-01", "yes", "true",
    // Values
    "10m", "0s", "9999999999999d", "1MiB", "999999GiB", "60/s", "auto", "high", "user.created", "email.created",
    "organization.*", "*", "**.*", "trigger", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "${HOME}", "${", "${}",
    "${file:/dev/zero}", "${file:routes.yaml}", "${NOBODY}${NOBODY}",
    // Keys
    "routes:\n", "tests:\n", "vars: ", "sources: ", "novu: ", "delivery: ", "event: ", "workflow: ", "filter: ",
    "payload: ", "subscriber: ", "topic: ", "each: ", "max_age: ", "name: ", "by: ", "cases: ", "default: ", "set: ",
    "unset: ", "expect: ", "file: ", "source: ", "context: ", "enabled: false", "filer: ", "evnt: ",
    "data.email_addresses[0].id: ", "data.x[999999999]: ", "$.data[\"a.b\"]",
    // JSONPath
    "$", "@", "$.data", "$..*", "$.data.email_addresses[?@.verification.status == 'verified']", "$.data.slug == 'x'",
    "&&", "||", "!", "==", "<=", "length($.data.id) > 3", "count($..*)", "match($.data.id, 'a{1000}{1000}')",
    "search(@.b, '(a|b)*c')", "value($..a)", "[?", "[-1:0:-1]", "[0,1,*]", "['a','b']", "1e400", "-9007199254740992",
    "'\\ud800'", "'\\u0000'", "in ['a']", "$[?@[?@>1]]", "((((((((", "))))))))", "[\\p{L}-z]{2,9}",
    // Handlebars
    "{{", "}}", "{{{", "}}}", "{{data.id}}", "{{data}}", "{{this}}", "{{@root.data}}", "{{../data}}", "{{item.id}}",
    "{{vars.a}}", "{{full_name}}", "{{upper data.first_name}}", "{{date data.created_at \"%Q\"}}",
    "{{date data.created_at \"%999Y\" \"Europe/Berlin\"}}", "{{jsonpath \"$..*\"}}", "{{json data}}",
    "{{replace data.id \"\" \"xxxxxxxx\"}}", "{{default a b c \"d\"}}", "{{#if data}}", "{{else}}", "{{/if}}",
    "{{#each data}}", "{{/each}}", "{{#with data}}", "{{/with}}", "{{> partial}}", "{{!-- comment --}}",
    "{{{{raw}}}}", "{{{{/raw}}}}", "{{~ a ~}}", "{{lookup data \"id\"}}", "{{#*inline \"x\"}}", "{{log data}}",
    "{{(upper a)}}", "{{a (b (c (d)))}}", "{{a as |b c|}}", "{{len data}}", "\\{{a}}", "{{[odd key]}}",
    "{{data.[0]}}",
];

/// The files that there are, each as it is written.
pub fn corpus() -> Vec<String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files = vec![read(&repository.join("routes.yaml"))];
    for example in std::fs::read_dir(repository.join("examples")).expect("examples") {
        let rules = example.expect("an example").path().join("routes.yaml");
        files.extend(rules.is_file().then(|| read(&rules)));
    }
    for page in ["README.md", "tests/it/problems.rs", "src/jsonpath/tests.rs"] {
        let text = read(&repository.join(page));
        let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
        files.extend(blocks.map(str::to_owned));
        // The mistakes that are known are good material, too.
        let texts = text.split('"').skip(1).step_by(2).filter(|text| text.len() > 8 && page.ends_with(".rs"));
        files.extend(texts.map(|text| text.replace("\\n", "\n").replace('«', "")));
    }
    assert!(files.len() > 50, "there is little to begin with");
    files
}

/// Makes one file out of others; the same one for the same seed.
pub struct Mutator<'a> {
    corpus: &'a [String],
    state: Cell<u64>,
    text: String,
}

impl<'a> Mutator<'a> {
    pub fn new(corpus: &'a [String], seed: u64) -> Self {
        Self { corpus, state: Cell::new(seed), text: String::new() }
    }

    pub fn file(mut self) -> Vec<u8> {
        let whole = self.corpus.iter().filter(|text| text.contains("routes:\n")).count();
        self.text = match self.below(4) {
            0 => self.any(self.corpus).clone(),
            _ => {
                let chosen = self.below(whole);
                self.corpus.iter().filter(|text| text.contains("routes:\n")).nth(chosen).cloned().unwrap_or_default()
            }
        };
        for _ in 0..self.below(1 + self.below(12)) {
            self.mutate();
            self.text.truncate(self.boundary(2 << 20));
        }
        let mut bytes = self.text.clone().into_bytes();
        if self.below(20) == 0 && !bytes.is_empty() {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        bytes
    }

    fn mutate(&mut self) {
        let (start, end) = self.range();
        match self.below(11) {
            0 => self.text.replace_range(start..end, ""),
            1 => self.insert(self.piece().to_owned()),
            2 | 3 => {
                let value = format!("{}{}", self.piece(), self.piece());
                self.replace_value(&value);
            }
            4 => {
                let times = self.size();
                let chunk = self.text[start..end].to_owned();
                self.text.insert_str(end, &chunk.repeat(times.min((1 << 20) / (chunk.len() + 1))));
            }
            5 => {
                let times = self.size();
                let value = self.piece().repeat(times);
                self.replace_value(&value);
            }
            6 => {
                let (open, close) = *self.any(&[
                    ("[", "]"),
                    ("{a: ", "}"),
                    ("(", ")"),
                    ("{{#if a}}", "{{/if}}"),
                    ("{{#each data}}", "{{/each}}"),
                ]);
                let times = self.below(100);
                self.text.insert_str(end, &close.repeat(times));
                self.text.insert_str(start, &open.repeat(times));
            }
            7 => {
                let other = self.any(self.corpus);
                let lines: Vec<&str> = other.lines().collect();
                let from = self.below(lines.len());
                let some =
                    lines[from..].iter().take(1 + self.below(8)).fold(String::new(), |text, line| text + line + "\n");
                self.insert_line(&some);
            }
            8 => {
                // A line again, elsewhere, and indented otherwise.
                let lines: Vec<&str> = self.text.lines().collect();
                let line = lines.get(self.below(lines.len())).map_or("", |line| line.trim_start()).to_owned();
                let line = format!("{}{line}\n", " ".repeat(self.below(9)));
                self.insert_line(&line);
            }
            9 => {
                let value = format!("'{}'", [self.piece(), self.piece(), self.piece(), self.piece()].concat());
                self.replace_value(&value);
            }
            _ => {
                let value = format!("&a [{}]", vec![self.piece(); self.below(50)].join(", "));
                self.replace_value(&value);
                for _ in 0..self.below(20) {
                    self.replace_value("*a");
                }
            }
        }
    }

    /// Puts something in the place of what stands behind a `: `.
    fn replace_value(&mut self, value: &str) {
        let places: Vec<usize> = self.text.match_indices(": ").take(5_000).map(|(at, _)| at + 2).collect();
        if places.is_empty() {
            return self.insert(value.to_owned());
        }
        let start = *self.any(&places);
        let length = self.text[start..].find(['\n', ',', '}']).unwrap_or(self.text.len() - start);
        self.text.replace_range(start..start + length, value);
    }

    fn insert(&mut self, text: String) {
        let at = self.below(self.text.len() + 1);
        let at = self.boundary(at);
        self.text.insert_str(at, &text);
    }

    fn insert_line(&mut self, line: &str) {
        let ends: Vec<usize> = self.text.match_indices('\n').take(5_000).map(|(at, _)| at + 1).collect();
        let at = if ends.is_empty() { 0 } else { *self.any(&ends) };
        self.text.insert_str(at, line);
    }

    /// A few bytes or lines, somewhere.
    fn range(&self) -> (usize, usize) {
        let at = self.below(self.text.len() + 1);
        let start = self.boundary(at);
        let length = self.below(if self.below(2) == 0 { 8 } else { 200 });
        (start, self.boundary(start + length))
    }

    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or_default()
    }

    /// Mostly small, and now and then large.
    fn size(&self) -> usize {
        match self.below(30) {
            0 => self.below(20_000),
            1..=5 => self.below(500),
            _ => self.below(8),
        }
    }

    fn piece(&self) -> &'static str {
        PIECES[self.below(PIECES.len())]
    }

    fn any<'l, T>(&self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    fn below(&self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.state.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
