//! The output and exit code of a command line, as a user sees them.

use std::process::Output;

use super::site::Site;

/// Runs `marwatch ARGS` in the site's folder and returns its output, with `[ROOT]` for that folder.
pub fn transcript(site: &Site, args: &[&str]) -> String {
    write_down(&site.root.to_string_lossy(), args, &site.run(args))
}

fn write_down(root: &str, args: &[&str], output: &Output) -> String {
    let mut text = format!("$ marwatch {}\n", args.join(" "));
    text += std::str::from_utf8(&output.stdout).unwrap();
    if !output.stderr.is_empty() {
        text += "--- standard error\n";
        text += std::str::from_utf8(&output.stderr).unwrap();
    }
    text += &match output.status.code() {
        Some(code) => format!("--- exit {code}\n"),
        None => format!("--- {}\n", output.status),
    };
    text.replace(root, "[ROOT]")
}

/// Compares the transcripts of some command lines with a snapshot. Times are replaced.
#[macro_export]
macro_rules! assert_transcript {
    ($name:literal, $site:expr, $($args:expr),+ $(,)?) => {{
        let transcripts = [$($crate::common::transcript::transcript($site, &$args)),+];
        insta::with_settings!({
            filters => vec![
                // A column behind the times must not depend on their width.
                (r"\bTIME +WHY\b", "TIME  WHY"),
                (r"\b\d+\.\d ms  +", "[TIME]  "),
                (r"\b\d+\.\d ms", "[TIME]"),
                (r"\d{4}-\d\d-\d\dT[0-9:]+Z", "[WHEN]"),
                (r"[0-9.]+\+?Z\b", "[TIME]"),
            ],
            omit_expression => true,
        }, {
            insta::assert_snapshot!($name, transcripts.join("\n"));
        });
    }};
}
