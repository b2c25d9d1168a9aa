//! Texts that are not settings files, and texts that are made to do harm.

use super::*;

#[test]
fn a_text_without_keys_is_rejected() {
    for (text, expected) in [
        ("- a\n- b", "1:1 settings-syntax the file does not consist of `key: value` lines"),
        ("just text", "1:1 settings-syntax the file does not consist of `key: value` lines"),
        ("''", "1:1 settings-syntax the file does not consist of `key: value` lines"),
    ] {
        assert_eq!(short(&read(text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn broken_yaml_is_reported_at_its_position() {
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
fn text_that_is_not_utf8_is_rejected_where_it_breaks() {
    let (_, problems) = parse_settings(Path::new("x"), b"name: a\nlicense: \xff\n");
    assert_eq!(short(&problems), "2:10 settings-syntax the file is not UTF-8");
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_accepted() {
    let config = good(&format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n")));
    assert_eq!(config.store, Path::new("/etc/mw/s"));
}

#[test]
fn aliases_are_rejected_before_they_expand() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let last = n - 1;
        bomb += &format!("a{n}: &a{n} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n");
    }
    let problems = read(&bomb).unwrap_err();
    assert_eq!(problems.len(), 55);
    assert_eq!(short(&problems[..1]), "2:10 settings-syntax aliases (`*name`) are not supported");
}

#[test]
fn deep_and_large_texts_are_rejected() {
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
fn at_most_a_hundred_problems_are_listed() {
    let text = format!("{MINIMAL}models:\n{}", "- 1\n".repeat(250));
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(short(&problems[100..]), "104:3 settings-value 150 more problems follow");
    // An error beyond the limit still rejects the file.
    let entries: String = (0..150).map(|n| format!("- path: m{n}/same\n")).collect();
    let text = format!("{MINIMAL}models:\n{entries}jobs: 0\n");
    assert!(read(&text).unwrap_err().last().unwrap().is_error());
}
