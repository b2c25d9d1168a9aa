//! The command lines as users meet them: output and exit codes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::schema::printed;
use common::service;
use common::site::Site;

/// A site with the sample models and their configuration.
fn samples() -> Site {
    let site = Site::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in walkdir::WalkDir::new(&config) {
        let entry = entry.unwrap();
        let to = site.root.join(entry.path().strip_prefix(&config).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    let text = fs::read_to_string(&site.config).unwrap();
    let quick = "settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\n";
    fs::write(&site.config, text.replace("../target/demo-store", "store") + quick).unwrap();
    site
}

/// A site of models with one problem each; `many` has several.
fn broken() -> Site {
    let site = Site::with("settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\n");
    site.put_simple("fine");
    site.put("2nd", &[("service.py", &service(""))]);
    site.put("syntax", &[("service.py", "def handle(data, context):\n    return [\n")]);
    site.put("typo", &[("service.py", "def handel(data, context):\n    return data\n")]);
    site.put("elsewhere", &[("service.py", &service("")), (".mar.yaml", "handler: model:run\n")]);
    site.put("two", &[("a.py", &service("")), ("b.py", &service(""))]);
    site.put("empty", &[(".keep", "")]);
    site.put("claimed", &[("service.py", &service("")), (".mar.yaml", "name: fine\n")]);
    let settings = "handler: service\nruntime: pyton\nexlude: [\"*.ckpt\"]\nversion: 1.0\n";
    let many = [("service.py", "import json\n"), (".mar.yaml", settings), ("a.json", "{\"a\": }")];
    let folder = site.put("many", &many);
    std::os::unix::fs::symlink("/etc/hostname", folder.join("host")).unwrap();
    site
}

#[test]
fn every_command_has_help() {
    let site = Site::new();
    assert_transcript!("help", &site, ["--help"]);
    assert_transcript!("help-short", &site, ["-h"]);
    assert_transcript!("help-run", &site, ["run", "--help"]);
    assert_transcript!("help-build", &site, ["build", "--help"]);
    assert_transcript!("help-status", &site, ["status", "--help"]);
    assert_transcript!("help-log", &site, ["log", "--help"]);
    assert_transcript!("help-pause", &site, ["pause", "--help"]);
    assert_transcript!("help-history", &site, ["history", "--help"]);
    assert_transcript!("help-rollback", &site, ["rollback", "--help"]);
    assert_transcript!("help-resume", &site, ["resume", "--help"]);
    assert_transcript!("help-verify", &site, ["verify", "--help"]);
    assert_transcript!("help-check", &site, ["check", "--help"]);
    assert_transcript!("help-inspect", &site, ["inspect", "--help"]);
    assert_transcript!("help-init", &site, ["init", "--help"]);
    assert_transcript!("help-new", &site, ["new", "--help"]);
    assert_transcript!("help-schema", &site, ["schema", "--help"]);
    assert_transcript!("help-man", &site, ["man", "--help"]);
    assert_transcript!("help-completions", &site, ["completions", "--help"]);
}

#[test]
fn build_prints_the_result_of_each_model() {
    let site = samples();
    assert_transcript!("build", &site, ["build"], ["build"], ["build", "echo"]);
    fs::write(site.root.join("models/echo/echo.py"), service("louder")).unwrap();
    fs::write(site.root.join("models/word-count/service.py"), "class WordCount:\n").unwrap();
    assert_transcript!(
        "build-after-edits",
        &site,
        ["build", "word-count", "sentiment-en"],
        ["build"],
        ["build"],
        ["build", "nosuch"],
        ["build", "echo", "nosuch"],
    );
    site.check_store();
}

#[test]
fn build_prints_the_cost_of_each_model() {
    let site = samples();
    let plain = site.run(&["build"]);
    assert!(!String::from_utf8(plain.stdout).unwrap().contains("SNAPSHOT"));
    // A touched file is hashed, and nothing is written.
    let touched = site.root.join("models/echo/echo.py");
    let size = fs::metadata(&touched).unwrap().len();
    {
        let file = fs::File::options().append(true).open(&touched).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    fs::write(site.root.join("models/word-count/service.py"), service("counts")).unwrap();
    let output = site.run(&["build", "--timings"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // The second table: a header, and a line for each model.
    let table = text.split("\n\n").nth(1).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("MODEL ") && lines[0].ends_with("CARRIED OVER"), "{text}");
    let line = |model: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("{model} "))).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    let echo = line("echo");
    assert!(echo[1].ends_with(" ms"), "{text}");
    assert_eq!(echo[2..], [&format!("{size} B"), "0 B", "0 B"], "{text}");
    // The model was not built; the table has the time of its scan.
    let scanned = line("sentiment-en");
    assert!(scanned[1].ends_with(" ms") && scanned[4] == "0 B", "{text}");
    let stages = line("word-count").iter().filter(|cell| cell.ends_with(" ms")).count();
    assert_eq!(stages, 7, "{text}");
    let pass = text.split("\n\n").nth(2).unwrap();
    assert!(pass.starts_with("the pass took "), "{text}");
}

#[test]
fn rollback_puts_earlier_archives_back_and_resume_ends_it() {
    let site = Site::with(
        "settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\nhistory: {keep: 3}\n",
    );
    let folder = site.put_simple("a");
    site.put_simple("b");
    assert_transcript!("history-of-nothing", &site, ["history"], ["verify"], ["history", "a"]);
    for answer in ["one", "two", "three"] {
        fs::write(folder.join("service.py"), service(answer)).unwrap();
        site.run(&["build"]);
    }
    assert_transcript!(
        "rollback",
        &site,
        ["history"],
        ["rollback", "a"],
        ["build"],
        ["history", "a"],
        ["rollback", "a"],
        ["rollback", "a"],
        ["rollback", "a", "--to", "9"],
        ["resume", "a"],
        ["history", "a"],
        ["resume", "a"],
        ["rollback", "../a"],
    );
    assert_eq!(site.member("a", "service.py"), service("three"));
    let json = site.run(&["history", "--json", "a"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["live"]["generation"], 6);
    assert_eq!(json[0]["kept"].as_array().unwrap().len(), 3);
    site.check_store();
}

#[test]
fn verify_lists_the_problems_of_a_store_and_repairs_what_it_can() {
    let site = Site::with(
        "settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\nhistory: {keep: 3}\n",
    );
    for name in ["a", "b", "c", "d"] {
        site.put_simple(name);
    }
    site.put("gone", &[("service.py", &service(""))]);
    site.run(&["build"]);
    let folder = site.drop.join("a");
    fs::write(folder.join("service.py"), service("two")).unwrap();
    site.run(&["build"]);
    fs::remove_dir_all(site.drop.join("gone")).unwrap();
    assert_transcript!("verify-good", &site, ["verify"], ["verify", "a"], ["verify", "nosuch"]);
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        // In the compressed handler, after the manifest.
        let at = bytes.len() - 200;
        bytes[at] ^= 0x55;
        fs::write(path, bytes).unwrap();
    };
    damage(&site.archive("a"));
    damage(&site.archive("gone"));
    let kept = fs::read_dir(site.hidden().join("history/a")).unwrap().next().unwrap().unwrap();
    damage(&kept.path());
    fs::remove_file(site.archive("b")).unwrap();
    fs::copy(site.archive("c"), site.store.join("copy.mar")).unwrap();
    fs::copy(site.archive("c"), site.archive("d")).unwrap();
    fs::create_dir(site.store.join("backup")).unwrap();
    fs::write(site.store.join("notes.txt"), "").unwrap();
    let before = site.run(&["verify", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&before.stdout).unwrap();
    assert_eq!(found["repairable"], serde_json::json!(["a", "b", "gone"]), "{found}");
    assert_transcript!("verify-bad", &site, ["verify"], ["verify", "--repair"]);
    let good = site.run(&["verify", "a", "b"]);
    assert_eq!(site.member("a", "service.py"), service("two"));
    assert_eq!(good.status.code(), Some(1), "what is damaged in the history stays: {good:?}");
}

#[test]
fn records_contain_the_cost_of_a_build() {
    let site = samples();
    site.run(&["build"]);
    for record in site.records() {
        let bytes = |path: &str| fs::metadata(site.root.join(path)).unwrap().len();
        let members = site.members(&record.model);
        let packed = members.iter().filter(|(path, _)| !path.ends_with("MANIFEST.json"));
        let files: usize = packed.map(|(_, content)| content.len()).sum();
        let cost = record.cost.unwrap();
        assert_eq!(cost.read, files as u64, "{record:?}");
        assert_eq!(cost.written, bytes(&format!("store/{}.mar", record.model)), "{record:?}");
        assert!(cost.compressed > 0, "{record:?}");
        assert_eq!(cost.carried_over, Default::default(), "nothing was there: {record:?}");
        assert_eq!(record.stages_ms.len(), 7, "{record:?}");
    }
    fs::write(site.root.join("models/echo/echo.py"), "def handel(data, context):\n").unwrap();
    site.run(&["build"]);
    let refused = site.records_of("echo").pop().unwrap();
    assert_eq!(refused.cost, None, "nothing was packed: {refused:?}");
}

#[test]
fn inspect_finds_a_handler_in_a_package_as_build_does() {
    let site = Site::new();
    let settings = "handler: pkg/mod:f\n";
    let module = "def f(data, context):\n    return data\n";
    site.put("m", &[("pkg/mod.py", module), (".mar.yaml", settings)]);
    assert_eq!(site.run(&["build"]).status.code(), Some(0));
    let inspected = site.run(&["inspect", &site.archive("m").to_string_lossy()]);
    assert_eq!(inspected.status.code(), Some(0), "{inspected:?}");
}

#[test]
fn build_lists_removed_models() {
    let site = samples();
    site.run(&["build"]);
    fs::remove_dir_all(site.root.join("models/echo")).unwrap();
    assert_transcript!("build-removed", &site, ["build"], ["build"]);
    assert!(site.archive("echo").exists(), "on_remove: keep");
}

#[test]
fn build_prints_why_models_are_rejected() {
    let site = broken();
    assert_transcript!("build-broken", &site, ["build"]);
    site.check_store();
}

#[test]
fn build_waits_only_until_max_wait_for_a_model_that_does_not_settle() {
    let site = Site::with("settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\n");
    site.put_simple("fine");
    site.put("download", &[("service.py", &service("")), ("w.bin.part", "")]);
    site.put("marked", &[("service.py", &service("")), (".mar.yaml", "ready_marker: READY\n")]);
    assert_transcript!("build-not-settled", &site, ["build"]);
    assert!(site.archive("fine").exists());
    site.check_store();
}

#[test]
fn build_works_without_a_configuration_file() {
    let site = samples();
    fs::remove_file(&site.config).unwrap();
    assert_transcript!(
        "build-flags",
        &site,
        ["build", "--watch", "models", "--store", "other/store"],
        ["build", "--watch", "drop", "--store", "empty"],
        ["build", "--watch", "models", "echo"],
        ["build", "--watch", "models", "--watch", "drop", "nosuch"],
    );
    let built: Vec<_> = fs::read_dir(site.root.join("model-store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(built, ["echo.mar"], "only the model that is named, in the default store");
}

#[test]
fn check_passes_good_models_and_writes_nothing() {
    let site = samples();
    assert_transcript!(
        "check-good",
        &site,
        ["check"],
        ["check", "--json"],
        ["check", "models/echo"],
    );
    assert!(!site.store.exists(), "a check writes nothing");
}

#[test]
fn check_lists_every_problem_of_broken_models() {
    let site = broken();
    assert_transcript!("check-broken", &site, ["check"]);
    assert_transcript!(
        "check-paths",
        &site,
        ["check", "drop/syntax", "drop/fine"],
        ["check", "--json", "drop/typo"],
        ["check", "nosuch"],
    );
}

#[test]
fn check_lists_every_problem_of_a_broken_configuration() {
    let site = Site::new();
    fs::write(
        &site.config,
        "stor: store\ndrop_folders: drop\nsettle:\n  quiet: 5\n  quiet_long: 1s\nmodels:\n  \
         - path: a\n    name: 9lives\n  - handler: x y\njobs: 0\nlimits: {file_size: 3 parsecs}\n",
    )
    .unwrap();
    assert_transcript!(
        "check-configuration",
        &site,
        ["check"],
        ["check", "--json"],
        ["check", "marwatch.yaml"],
        ["build"],
        ["run"],
    );
    fs::write(&site.config, "store: [store\ndrop_folders:\n  - drop\n").unwrap();
    assert_transcript!("check-no-yaml", &site, ["check"]);
    site.configure("drop_folders: [drop]\n");
    assert_transcript!("check-twice", &site, ["check"]);
    fs::write(&site.config, "store: store\ndrop_folders: [drop, nosuch]\n").unwrap();
    assert_transcript!("check-missing-folder", &site, ["check"]);
}

#[test]
fn init_writes_a_configuration_that_works() {
    let site = Site::new();
    fs::remove_file(&site.config).unwrap();
    assert_transcript!("init", &site, ["init"], ["init"], ["init", "nosuch/file.yaml"]);
    let written = fs::read_to_string(&site.config).unwrap();
    let printed = site.run(&["init", "-"]);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let (for_editors, rest) = written.split_at(written.find("\n\n").unwrap() + 2);
    assert_eq!(printed, rest);
    assert_eq!(schema_beside(&site.root, for_editors), site.run(&["schema", "config"]).stdout);
    fs::create_dir(site.root.join("models")).unwrap();
    assert_transcript!("init-then-check", &site, ["check"]);
}

/// The schema that the first line of a file in `folder` names.
#[track_caller]
fn schema_beside(folder: &Path, text: &str) -> Vec<u8> {
    let first = text.lines().next().unwrap();
    let path = first.strip_prefix("# yaml-language-server: $schema=").unwrap();
    fs::read(folder.join(path)).unwrap()
}

#[test]
fn init_leaves_no_file_if_the_schema_cannot_be_written() {
    let site = Site::new();
    fs::create_dir_all(site.root.join("conf/.marwatch.schema.json")).unwrap();
    assert_eq!(site.run(&["init", "conf/marwatch.yaml"]).status.code(), Some(5));
    assert!(!site.root.join("conf/marwatch.yaml").exists());
}

#[test]
fn new_creates_a_model_that_works() {
    let site = Site::new();
    assert_transcript!(
        "new",
        &site,
        ["new", "resnet", "--in", "drop"],
        ["new", "resnet", "--in", "drop"],
        ["check", "drop/resnet"],
        ["build"],
        ["new", "here"],
        ["new", "2nd"],
        ["new", "a..b"],
        ["new", "drop/two"],
        ["new", "three", "--in", "nosuch"],
    );
    let folder = site.drop.join("resnet");
    let settings = fs::read_to_string(folder.join(".mar.yaml")).unwrap();
    assert!(settings.contains("\nhandler: service\n"), "{settings}");
    assert_eq!(schema_beside(&folder, &settings), site.run(&["schema", "model"]).stdout);
    let packed: Vec<_> = site.members("resnet").into_keys().collect();
    assert_eq!(packed, ["MAR-INF/MANIFEST.json", "service.py"]);
    assert!(site.root.join("here/service.py").exists());
    assert_eq!(fs::read_dir(&site.drop).unwrap().count(), 1);
}

#[test]
fn new_touches_no_existing_file() {
    let site = Site::new();
    let folder = site.put("mine", &[("notes.md", "mine")]);
    fs::create_dir(site.drop.join("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", site.drop.join("link")).unwrap();
    fs::write(site.drop.join("file"), "mine").unwrap();
    for name in ["mine", "empty", "link", "file"] {
        let output = site.run(&["new", name, "--in", "drop"]);
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(fs::read_dir(site.drop.join("empty")).unwrap().count(), 0);
    assert!(!site.drop.join("nowhere").exists());
}

#[test]
fn inspect_shows_an_archive() {
    let site = samples();
    assert!(site.run(&["build"]).status.success());
    let archive = site.archive("sentiment-en");
    let whole = fs::read(&archive).unwrap();
    fs::write(site.root.join("cut.mar"), &whole[..whole.len() / 2]).unwrap();
    fs::write(site.root.join("text.mar"), "this is no archive\n").unwrap();
    assert_transcript!(
        "inspect",
        &site,
        ["inspect", "store/sentiment-en.mar"],
        ["inspect", "--json", "store/echo.mar"],
    );
    assert_transcript!(
        "inspect-damaged",
        &site,
        ["inspect", "cut.mar"],
        ["inspect", "text.mar"],
        ["inspect", "nosuch.mar"],
    );
}

/// The completions of bash for the last of `words`.
fn completed(words: &[&str]) -> Vec<String> {
    let program = words[0];
    let script = format!(
        "source <({marwatch} completions bash {program})
         COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))
         function=$(complete -p {program}) function=${{function#*-F }} function=${{function%% *}}
         $function {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        marwatch = env!("CARGO_BIN_EXE_marwatch"),
    );
    let output =
        Command::new("bash").args(["--norc", "-c", &script, "bash"]).args(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_both_command_lines() {
    assert_eq!(completed(&["marwatch", "roll"]), ["rollback"]);
    assert_eq!(completed(&["marwatch", "build", "--tim"]), ["--timings"]);
    assert_eq!(completed(&["marwatch", "schema", "mod"]), ["model"]);
    assert_eq!(completed(&["model-archiver", "--model-p"]), ["--model-path"]);
    let runtimes = ["python", "python2", "python3"];
    assert_eq!(completed(&["model-archiver", "--runtime", ""]), runtimes);
}

#[test]
fn man_prints_and_installs_pages() {
    let site = Site::new();
    let page = site.run(&["man", "build"]);
    assert!(page.status.success(), "{page:?}");
    assert_eq!(page.stdout, site.run(&["man", "marwatch-build"]).stdout);
    assert!(site.run(&["man", "--all", "share/man"]).status.success());
    let written = fs::read(site.root.join("share/man/man1/marwatch-build.1")).unwrap();
    assert_eq!(page.stdout, written);
    let page = fs::read_to_string(site.root.join("share/man/man5/marwatch.yaml.5")).unwrap();
    let schema: serde_json::Value =
        serde_json::from_slice(&site.run(&["schema", "config"]).stdout).unwrap();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n.SS {key}\n")), "{key} has no section");
    }
    // True of the file, not of the page.
    assert!(!page.contains("commented out"), "{page}");
}

#[test]
fn schemas_accept_what_marwatch_writes() {
    let site = Site::new();
    assert_transcript!("schema-results", &site, ["schema", "results"]);
    assert_transcript!("schema-catalog", &site, ["schema", "catalog"]);
    // The configuration's is long, and follows from the keys: that it holds for what `init` writes
    // is what counts.
    let schema = site.run(&["schema", "config"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let written = String::from_utf8(site.run(&["init", "-"]).stdout).unwrap();
    // Settings are commented out by a `#` directly before them.
    let every_key: String = written
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting,
            Some(setting) if setting.starts_with("  ") => setting,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    for text in [&written, &every_key] {
        let config: serde_json::Value = serde_yaml::from_str(text).unwrap();
        let errors: Vec<_> = schema.iter_errors(&config).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
    let keys: serde_json::Value = serde_yaml::from_str(&every_key).unwrap();
    assert!(keys["models"][0]["ready_marker"].is_string(), "{keys:#}");
    for wrong in ["store: 5", "{}", "{store: s, jobz: 1}", "{store: s, settle: {quiet: 5}}"] {
        let config: serde_json::Value = serde_yaml::from_str(wrong).unwrap();
        assert!(!schema.is_valid(&config), "{wrong}");
    }
}

#[test]
fn schemas_refuse_what_they_should() {
    let nothing = serde_json::json!({});
    assert!(!printed("results").is_valid(&nothing));
    assert!(!printed("catalog").is_valid(&nothing));
    let catalog = |time: &str| serde_json::json!({ "schema": 1, "time": time, "models": {} });
    assert!(printed("catalog").is_valid(&catalog("2030-01-01T00:00:00Z")));
    assert!(!printed("catalog").is_valid(&catalog("yesterday")));
    let mut odd = catalog("2030-01-01T00:00:00Z");
    odd["surprise"] = true.into();
    assert!(!printed("catalog").is_valid(&odd));
}

#[test]
fn wrong_usage_is_explained() {
    let site = Site::new();
    fs::remove_file(&site.config).unwrap();
    assert_transcript!(
        "usage",
        &site,
        [],
        ["frobnicate"],
        ["biuld"],
        ["build", "--frobnicate"],
        ["build"],
        ["check"],
        ["run"],
        ["run", "--store", "s"],
        ["run", "--config", "a.yaml", "--store", "s", "--watch", "drop"],
        ["run", "--server", "http://127.0.0.1:8081"],
        ["run", "--server", "http://127.0.0.1:8081", "--config", "a.yaml"],
        ["run", "--watch", "drop", "--server", "u:secret@localhost:8081"],
        ["run", "--watch", "drop", "--server", "http://h:1", "--server", "http://h:1/"],
        ["build", "--watch", "drop", "--server", "http://h:1"],
        ["status"],
        ["status", "--watch"],
        ["status", "-w", "echo"],
        ["run", "--config", "nosuch.yaml"],
        ["inspect"],
        ["schema", "nosuch"],
        ["man", "nosuch"],
        ["completions", "nosuch"],
        ["--log-level", "=loud=", "check"],
    );
}

#[test]
fn commands_end_with_the_documented_exit_codes() {
    let site = Site::new();
    let ends = |args: &[&str]| site.run(args).status.code().unwrap();
    assert_eq!(ends(&["build"]), 0);
    site.put("m", &[("service.py", "def handle(data, context):\n")]);
    assert_eq!(ends(&["build"]), 1);
    assert_eq!(ends(&["check"]), 1);
    assert_eq!(ends(&["build", "nosuch"]), 2);
    for command in ["build", "check", "run"] {
        assert_eq!(ends(&[command, "--nosuch"]), 2);
        assert_eq!(ends(&[command, "--config", "nosuch.yaml"]), 3, "{command}");
    }
    let daemon = site.start();
    assert_eq!(ends(&["build"]), 4);
    assert_eq!(ends(&["run"]), 4);
    assert_eq!(ends(&["check"]), 1, "check needs no store");
    daemon.stop();
    fs::write(site.root.join("file"), "").unwrap();
    for command in ["build", "run"] {
        assert_eq!(ends(&[command, "--watch", "drop", "--store", "file"]), 5, "{command}");
    }
    assert_eq!(ends(&["inspect", "nosuch.mar"]), 5);
    fs::write(&site.config, "store: 5\n").unwrap();
    for command in ["build", "check", "run"] {
        assert_eq!(ends(&[command]), 3, "{command}");
    }
}
