//! The table of modules in `tests/cases.txt`, the texts of problems, and arbitrary input.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

const CASES: &str = include_str!("tests/cases.txt");

struct Case {
    name: &'static str,
    handler: Handler,
    expected: &'static str,
    source: &'static str,
}

fn cases() -> Vec<Case> {
    let blocks = CASES.split("\n== ").skip(1);
    blocks
        .map(|block| {
            let (head, rest) = block.split_once('\n').unwrap();
            let (name, handler) = head.split_once(" | ").unwrap();
            let (expected, source) = rest.split_once("--\n").unwrap();
            let handler = Handler::parse(handler).unwrap();
            Case { name, handler, expected: expected.trim_end(), source }
        })
        .collect()
}

fn on_service(handler: &str, source: &str) -> Vec<Problem> {
    let handler = Handler::parse(handler).unwrap();
    check(&handler, Runtime::Python, Path::new("service.py"), source.as_bytes())
}

fn in_short(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| {
            let warning = if problem.is_error() { "" } else { " warning" };
            let place = match (problem.line, problem.column) {
                (Some(line), Some(column)) => format!(" {line}:{column}"),
                _ => String::new(),
            };
            format!("{}{warning}{place}", problem.code)
        })
        .collect();
    if lines.is_empty() { "fine".to_owned() } else { lines.join("\n") }
}

#[test]
fn every_module_of_the_table_has_its_expected_problems() {
    let mut wrong = String::new();
    for case in cases() {
        let problems =
            check(&case.handler, Runtime::Python, Path::new("service.py"), case.source.as_bytes());
        let found = in_short(&problems);
        if found != case.expected {
            let texts: Vec<_> = problems.iter().map(Problem::to_string).collect();
            let texts = texts.join("\n");
            wrong += &format!(
                "== {}\nexpected {}\nfound {found}\n{texts}\n\n",
                case.name, case.expected
            );
        }
        for problem in problems {
            assert!(!problem.message.ends_with('.') && !problem.help.ends_with('.'), "{problem}");
            assert!(!problem.help.is_empty() && !problem.to_string().contains('\n'), "{problem}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The texts of all problems.
fn read(cases: &[(&str, &str)]) -> String {
    let texts: Vec<_> = cases
        .iter()
        .flat_map(|(handler, source)| on_service(handler, source))
        .map(|problem| problem.to_string())
        .collect();
    texts.join("\n\n")
}

#[test]
fn mistakes_about_functions_are_explained() {
    assert_snapshot!(read(&[
        ("service:handel", "def handle(data, context):\n    return []\n"),
        ("service:serve", "def predict(data, context):\n    return []\n"),
        ("service", "def predict(data, context):\n    return []\n"),
        ("service:handle", "def handle(data):\n    return []\n"),
        ("service:handle", "def handle(self, data, context):\n    return []\n"),
        ("service:handle", "def handle(data, context, model, *, debug):\n    return []\n"),
        ("service:handle", "def handle(data, context, *, debug, level=1):\n    return []\n"),
        ("service:handle", "async def handle(data, context):\n    return []\n"),
        ("service:handle", "handle = lambda data: []\n"),
        ("service:handle", "handle = None\n"),
        ("service:handle", "from helpers import *\n"),
        ("service:handle", "from .helpers import handle\n"),
    ]));
}

#[test]
fn mistakes_about_classes_are_explained() {
    let service = "class Service:\n    def initialize(self, context): pass\n    def handle(self, data, context): return []\n";
    let predict = format!("{service}    def predict(self, data): return []\n");
    let broken = format!("class Broken(Exception): pass\n{service}");
    let alias = format!("{service}Model = Service\n");
    assert_snapshot!(read(&[
        ("service:handle", service),
        ("service:Service", service),
        ("service:predict", &predict),
        ("service", &broken),
        ("service", &alias),
        (
            "service",
            "class Service:\n    def initialise(self, context): pass\n    def handle(data, context): return []\n"
        ),
        (
            "service",
            "class Service:\n    def __init__(self, path): pass\n    def initialize(self): pass\n"
        ),
        ("service", "from base import Base\nclass Service(Base): pass\n"),
        ("service:predict", "class Service:\n    def predict(self, data, context): return []\n"),
    ]));
}

#[test]
fn syntax_errors_are_explained() {
    assert_snapshot!(read(&[
        ("service", "def handle(data, context):\n    return [1\n"),
        ("service", "def handle(data, context):\n    print data\n"),
        ("service", "def handle(data, context)\n    return []\n"),
        ("service", "def handle(data, context):\nreturn []\n"),
        ("service", "def handle(data, context):\n    return 'a\n"),
        ("service", "x = \u{1b}[31m\n"),
        ("service", "# coding: klingon\ndef handle(data, context):\n    return []\n"),
    ]));
}

#[test]
fn syntax_of_python_2_is_not_an_error_for_the_runtime_python2() {
    let handler = Handler::parse("service").unwrap();
    let python2 = |source: &[u8]| check(&handler, Runtime::Python2, Path::new("s.py"), source);
    let old = b"def handle(data, context):\n    print 'x'\n";
    assert_eq!(in_short(&python2(old)), "handler-undecided warning\nhandler-syntax warning 2:11");
    assert_eq!(in_short(&python2(b"def handle(data): pass\n")), "handler-signature 1:5");
    assert_eq!(in_short(&python2("x = 'é'\n".as_bytes())), "handler-syntax 1:6");
}

#[test]
fn only_modules_in_packages_can_use_relative_imports() {
    let source = b"from .helpers import handle\n";
    let found = |handler: &str, path: &str| {
        let handler = Handler::parse(handler).unwrap();
        in_short(&check(&handler, Runtime::Python, Path::new(path), source))
    };
    assert_eq!(found("pkg.mod:handle", "pkg/mod.py"), "fine");
    assert_eq!(found("mod:handle", "mod/__init__.py"), "fine");
    assert_eq!(found("pkg/mod:handle", "pkg/mod.py"), "handler-import 1:1");
}

#[test]
fn inference_takes_the_only_module_that_can_be_the_handler() {
    const FUNCTION: &str = "def handle(data, context):\n    return []\n";
    const CLASS: &str =
        "class A:\n    def initialize(self, c): pass\n    def handle(self, d, c): return []\n";
    let infer = |modules: &[(&str, &str)]| {
        let modules: Vec<_> =
            modules.iter().map(|(path, text)| (EntryPath::parse(path).unwrap(), *text)).collect();
        match super::infer(modules.iter().map(|(path, text)| (path, text.as_bytes()))) {
            Ok(handler) => handler.to_string(),
            Err(problem) => problem.to_string(),
        }
    };
    assert_eq!(infer(&[("a.py", FUNCTION), ("b.py", "x = 1\n"), ("c.txt", FUNCTION)]), "a:handle");
    assert_eq!(infer(&[("lstm-service.py", CLASS), ("pkg/b.py", FUNCTION)]), "lstm-service");
    assert_eq!(infer(&[("a.b.py", FUNCTION), ("__init__.py", FUNCTION), ("c.py", CLASS)]), "c");
    assert_eq!(infer(&[("star.py", "from x import *\n"), ("c.py", CLASS)]), "c");
    assert_snapshot!(
        [
            infer(&[]),
            infer(&[("a.py", "def handle(data): pass\n")]),
            infer(&[("a.py", ""), ("b.py", "")]),
            infer(&[("a.py", FUNCTION), ("b.py", CLASS)]),
        ]
        .join("\n\n")
    );
}

/// Random lines of Python that concern the checks.
fn near_python() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "def handle(data, context):",
        "async def initialize(*, a, b=1, **c):",
        "class Service(Base):",
        "class Base(Service):",
        "if x:",
        "else:",
        "try:",
        "except E as handle:",
        "finally:",
        "with a as handle:",
        "for handle in x:",
        "while True:",
        "match x:",
        "case {**handle}:",
        "handle = Service().handle",
        "handle, x = x, handle",
        "del handle",
        "global handle",
        "from . import *",
        "import handle",
        "return",
        "raise",
        "break",
        "yield",
        "pass",
        "@property",
        "lambda: (handle := 1)",
        "globals()['handle'] = 1",
        "handle: int = (",
        "]",
        "'''",
        "\\",
        "self.handle = 1",
        "Base = Service",
        "x = f'{x!r:{y}}'",
    ]);
    let lines = prop::collection::vec((0usize..4, line), 0..25);
    lines.prop_map(|lines| {
        lines.iter().map(|(indent, line)| format!("{}{line}\n", "    ".repeat(*indent))).collect()
    })
}

proptest! {
    #[test]
    fn any_text_can_be_checked(text in "\\PC*|[ -~\\n\\t]*") {
        on_service("service:handle", &text);
        on_service("service", &text);
    }

    #[test]
    fn any_bytes_can_be_checked(bytes: Vec<u8>) {
        could_be_handler(&bytes);
    }

    #[test]
    fn problems_are_on_a_line_of_the_module(text in near_python()) {
        for handler in ["service", "service:handle", "service:x"] {
            for problem in on_service(handler, &text) {
                let lines = u32::try_from(text.lines().count()).unwrap() + 1;
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }

    #[test]
    fn truncated_modules_can_be_checked(case in 0..cases().len(), cut: prop::sample::Index) {
        let case = &cases()[case];
        let source = &case.source.as_bytes()[..cut.index(case.source.len() + 1)];
        check(&case.handler, Runtime::Python, Path::new("service.py"), source);
    }

    #[test]
    fn a_comment_at_the_end_does_not_change_the_problems(case in 0..cases().len(), comment in "# \\PC{0,20}") {
        let case = &cases()[case];
        prop_assume!(!case.expected.contains("handler-syntax"));
        let source = format!("{}\n{comment}\n", case.source);
        let found = check(&case.handler, Runtime::Python, Path::new("service.py"), source.as_bytes());
        prop_assert_eq!(in_short(&found), case.expected);
    }
}

#[test]
fn hostile_modules_can_be_checked() {
    let times = |unit: &str, count: usize| unit.repeat(count);
    for source in [
        times("(", 100_000),
        "x = a".to_owned() + &times(".a", 1_000_000),
        "x = ".to_owned() + &times("not ", 24_000) + "1",
        "class A:\n def f(self):\n  x = a".to_owned() + &times(".a", 24_000),
        "class A:\n def f(self):\n  x = ".to_owned() + &times("not ", 24_000) + "1",
        "class A:\n def f(self):\n  x = a".to_owned() + &times("()", 24_000),
        times("if x:\n handle = 1\n", 2_000),
        times("if x: handle = lambda d: 1\n", 2_000),
        (0..2_000).map(|n| format!("class A{n}(A{}): pass\n", n + 1)).collect(),
        (0..2_000).map(|n| format!("class A{}(A{n}, A{n}): pass\n", n + 1)).collect(),
        (0..90).map(|n| times(" ", n) + "if x:\n").collect::<String>()
            + &times(" ", 90)
            + "y = 1\n",
    ] {
        on_service("service", &source);
        on_service("service:A9", &source);
    }
}
