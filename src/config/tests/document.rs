//! Texts that are no settings file, and texts that want to do harm.

use super::*;

#[test]
fn no_settings_file() {
    for (text, expected) in [
        ("- a\n- b", "1:1 settings-syntax the file does not consist of `key: value` lines"),
        ("just text", "1:1 settings-syntax the file does not consist of `key: value` lines"),
        ("''", "1:1 settings-syntax the file does not consist of `key: value` lines"),
    ] {
        assert_eq!(short(&read(text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn broken_yaml() {
    let broken = [
        "store: s\n\tjobs: 2\n",
        "settle:\n\tquiet: 1s\n",
        "store: [s\njobs: 2\n",
        "store: 's\n",
        "store: s: t\n",
        "store: @s\n",
        "a: *missing\n",
        "%YAML 3.0\n---\na: 1\n",
        "a: 1\n b: 2\n",
        "a: \"\\q\"\n",
        "}",
        "\0",
    ];
    let printed: String = broken
        .iter()
        .map(|text| format!("{text:?}\n{}\n", printed(&read(text).unwrap_err())))
        .collect();
    insta::assert_snapshot!(printed);
}

#[test]
fn not_utf8() {
    let (_, problems) = parse_settings(Path::new("x"), b"name: a\nlicense: \xff\n");
    assert_eq!(short(&problems), "2:10 settings-syntax the file is not UTF-8");
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_fine() {
    let config = good(&format!("\u{feff}{}", LEAST.replace('\n', "\r\n")));
    assert_eq!(config.store, Path::new("/etc/mw/s"));
}

#[test]
fn aliases_are_refused_before_they_unfold() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let last = n - 1;
        bomb += &format!("a{n}: &a{n} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n");
    }
    let problems = read(&bomb).unwrap_err();
    assert_eq!(problems.len(), 55);
    assert_eq!(short(&problems[..1]), "2:10 settings-syntax aliases (`*name`) are not followed");
}

#[test]
fn deep_and_large_texts_are_refused() {
    let megabyte = 1 << 20;
    for text in [
        "[".repeat(megabyte),
        "{".repeat(megabyte),
        "- ".repeat(megabyte / 2),
        "? ".repeat(megabyte / 2),
        "a: ".repeat(megabyte / 3),
        "{a: ".repeat(megabyte / 4),
        format!("a: [{}]", "1,".repeat(megabyte / 2 - 3)),
        "a: 1\n".repeat(megabyte / 5),
        (0..50_000).map(|n| format!("k{n}: 1\n")).collect(),
        "x".repeat(megabyte),
        "&a ".repeat(megabyte / 3),
        "!a ".repeat(megabyte / 3),
        format!("'{}", "\n".repeat(megabyte - 1)),
        "\t".repeat(megabyte),
        " ".repeat(megabyte - 1) + "[",
    ] {
        let problems = read(&text).unwrap_err();
        assert!((1..=101).contains(&problems.len()), "{}", problems.len());
    }
}

#[test]
fn more_mistakes_than_anybody_reads() {
    let text = format!("{LEAST}models:\n{}", "- 1\n".repeat(250));
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(short(&problems[100..]), "104:3 settings-value 150 more problems from here on");
    // An error beyond the limit still refuses the file.
    let entries: String = (0..150).map(|n| format!("- path: m{n}/same\n")).collect();
    let text = format!("{LEAST}models:\n{entries}jobs: 0\n");
    assert!(read(&text).unwrap_err().last().unwrap().is_error());
}
