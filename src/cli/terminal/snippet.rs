//! A problem with its source line, in the form that rustc uses.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::model::problem::Problem;
use crate::source::confined::Confined;
use crate::text::printable;

/// Bytes that are read of a source file. A longer one is not written by hand.
const MOST: u64 = 1 << 20;

/// A problem of the model in `folder`, in colour or without.
pub(super) fn render(problem: &Problem, folder: &Path, is_coloured: bool) -> String {
    let level = if problem.is_error() { Level::ERROR } else { Level::WARNING };
    let message = printable(&problem.message);
    let path = printable(&problem.path.to_string_lossy());
    let code = problem.code.to_string();
    let help = Level::HELP.message(printable(&problem.help));
    let title = level.primary_title(message).id(code);
    let line = problem.line.and_then(|line| Some((line, line_of(problem, folder, line).ok()??)));
    let group = match &line {
        Some((number, text)) => {
            let column = problem.column.map(|column| column as usize);
            let at = column.map_or(0..text.len(), |column| one_character(text, column));
            let snippet = Snippet::source(text.as_str())
                .line_start(*number as usize)
                .path(path)
                .annotation(AnnotationKind::Primary.span(at));
            Group::with_title(title).element(snippet)
        }
        None => Group::with_title(title).element(Origin::path(path)),
    };
    let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group.element(help)])
}

/// A line of the file that has the problem. It is read as a build would read it: never through a link
/// that leads out of the model.
fn line_of(problem: &Problem, folder: &Path, number: u32) -> io::Result<Option<String>> {
    let relative = problem.path.strip_prefix(folder).map_err(io::Error::other)?;
    let file: File = Confined::open(folder)?.open_file(relative)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    let line = text.lines().nth(number.saturating_sub(1) as usize);
    Ok(line.map(|line| printable(line.trim_end())))
}

/// The range of the character in a column, counted from 1; the end of the text if there is none.
fn one_character(text: &str, column: usize) -> std::ops::Range<usize> {
    match text.char_indices().nth(column.saturating_sub(1)) {
        Some((start, character)) => start..start + character.len_utf8(),
        None => text.len()..text.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::problem::Code;

    #[test]
    fn a_problem_is_shown_with_its_line_and_a_mark_below() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::write(folder.join("service.py"), "import os\n\ndef handel(d, c):\n    pass\n").unwrap();
        let problem = Problem::error(
            Code::HandlerEntryPoint,
            folder.join("service.py"),
            "there is no `handle`",
            "rename `handel`",
        );
        let path = folder.join("service.py").display().to_string();
        let shown = render(&problem.clone().at(3, 5), folder, false);
        assert_eq!(
            shown.replace(&path, "PATH"),
            "error[handler-entry-point]: there is no `handle`\n\
             \x20--> PATH:3:5\n\
             \x20 |\n\
             3 | def handel(d, c):\n\
             \x20 |     ^\n\
             \x20 |\n\
             \x20 = help: rename `handel`"
        );
        // Without a line, and with a line that no longer exists.
        for problem in [problem.clone(), problem.clone().at(9, 1)] {
            let shown = render(&problem, folder, false).replace(&path, "PATH");
            assert!(shown.contains("--> PATH\n") && shown.contains("help: rename"), "{shown}");
        }
        assert!(render(&problem.at(3, 5), folder, true).contains("\x1b["));
    }

    #[test]
    fn a_snippet_has_nothing_that_a_terminal_obeys_and_follows_no_link_out_of_the_model() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("m");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.py"), "x = '\x1b[2J'\u{1F600} tab\there\n").unwrap();
        let problem = |name: &str| {
            Problem::error(Code::HandlerSyntax, folder.join(name), "no \x1b[1m", "mend").at(1, 9)
        };
        let shown = render(&problem("a.py"), &folder, false);
        assert!(!shown.contains('\x1b') && shown.contains("1 |"), "{shown:?}");
        fs::write(dir.path().join("secret"), "secret\n").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("b.py")).unwrap();
        let shown = render(&problem("b.py"), &folder, false);
        assert!(!shown.contains("secret"), "{shown}");
    }
}
