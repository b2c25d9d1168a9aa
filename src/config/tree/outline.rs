//! A tree of the keys and values of a YAML text with their lines and columns.
//!
//! The tree comes from `saphyr-parser`'s events, because `serde_yaml`'s values have no positions. The
//! same pass rejects what a settings file does not need and what could exhaust memory: aliases, tags,
//! a second document, keys that are lists, deep nesting, too many values. JSON is close enough to
//! YAML for the tree to work for a manifest too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::config::leaf::shown;

/// Depth of nested lists and sections.
const MAX_DEPTH: usize = 64;
/// Number of keys and values in one file. A file at the size limit can hold half a million.
const MAX_NODES: usize = 100_000;

/// A line and a column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// A value of the file.
#[derive(Debug)]
pub struct Node {
    pub at: Place,
    pub content: Content,
}

impl Node {
    /// Whether the key has no value.
    pub fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if text.is_empty())
    }
}

/// The content of a value.
#[derive(Debug)]
pub enum Content {
    /// The text as the file has it, and whether it is unquoted.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Section(Vec<Member>),
}

/// A key and its value.
#[derive(Debug)]
pub struct Member {
    pub key: String,
    pub at: Place,
    pub value: Node,
}

/// A part of the text that is rejected.
#[derive(Debug)]
pub struct Flaw {
    pub at: Place,
    pub what: String,
    pub help: String,
}

/// The result of one pass over the text.
#[derive(Debug)]
pub struct Outline {
    /// The tree; `None` if the text is empty or broken, or if its values must not be read.
    pub root: Option<Node>,
    pub flaws: Vec<Flaw>,
}

/// Reads the positions of all keys and values.
pub fn outline(text: &str) -> Outline {
    let mut builder = Builder {
        text,
        events: Parser::new_from_str(text),
        flaws: vec![],
        nodes: 0,
        aliases: false,
    };
    let root = builder.document().ok().flatten();
    // A text with an alias could expand to any size when its values are read.
    Outline { root: root.filter(|_| !builder.aliases), flaws: builder.flaws }
}

/// The pass cannot continue; the last flaw is the reason.
struct Stop;

struct Builder<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    flaws: Vec<Flaw>,
    nodes: usize,
    aliases: bool,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    self.flaw(
                        place(&span.start),
                        "a second document begins here",
                        "keep one document: remove the `---`",
                    );
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        let at = place(&span.start);
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return self.stop(at, format!("more than {MAX_DEPTH} levels of nesting"));
        }
        if self.nodes > MAX_NODES {
            return self.stop(at, format!("more than {MAX_NODES} values in one file"));
        }
        let content = match event {
            Event::Scalar(value, style, _, tag) => {
                self.refuse_tag(at, tag.as_deref());
                Content::Scalar { text: value.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(_, tag) => {
                self.refuse_tag(at, tag.as_deref());
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Content::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, tag) => {
                self.refuse_tag(at, tag.as_deref());
                Content::Section(self.members(depth)?)
            }
            Event::Alias(_) => {
                self.aliases = true;
                self.flaw(at, "aliases (`*name`) are not supported", "write the value out");
                Content::Scalar { text: String::new(), plain: true }
            }
            other => return self.stop(at, format!("unexpected {other:?}")),
        };
        Ok(Node { at, content })
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member>, Stop> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(members);
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Content::Scalar { text: name, .. } = key.content else {
                self.flaw(key.at, "a key is a list or a section", "write a plain word as key");
                continue;
            };
            match seen.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(key.at.line);
                    members.push(Member { key: name, at: key.at, value });
                }
                Entry::Occupied(first) => self.flaw(
                    key.at,
                    format!("the key `{}` is set twice", shown(&name)),
                    format!("remove one of them (the first is on line {})", first.get()),
                ),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = place(error.marker());
                let help = if indented_by_tab(self.text, at.line) {
                    "indent with spaces; YAML does not allow tabs there"
                } else {
                    "check indentation, quotes, colons and brackets here and just above"
                };
                self.flaw(at, format!("not valid YAML: {}", error.info()), help);
                Err(Stop)
            }
            None => Err(Stop),
        }
    }

    fn refuse_tag(&mut self, at: Place, tag: Option<&Tag>) {
        if let Some(tag) = tag {
            let core = tag.is_yaml_core_schema();
            let tag = if core { format!("!!{}", tag.suffix) } else { tag.to_string() };
            let what = format!("tags (`{}`) are not supported", shown(&tag));
            self.flaw(at, what, "remove it, and quote the value if it is text");
        }
    }

    fn stop<T>(&mut self, at: Place, what: String) -> Result<T, Stop> {
        self.flaw(at, what, "simplify the file");
        Err(Stop)
    }

    fn flaw(&mut self, at: Place, what: impl Into<String>, help: impl Into<String>) {
        self.flaws.push(Flaw { at, what: what.into(), help: help.into() });
    }
}

/// Whether a tab indents this line or one next to it, where the cause may be.
fn indented_by_tab(text: &str, line: u32) -> bool {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let mut near = text.lines().skip(line.saturating_sub(2)).take(3);
    near.any(|line| line.trim_start_matches(' ').starts_with('\t'))
}

fn place(marker: &Marker) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(marker.line().max(1)), column: number(marker.col()).saturating_add(1) }
}
