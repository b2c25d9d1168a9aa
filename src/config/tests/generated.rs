//! Properties of any text and of any valid configuration.

use proptest::prelude::*;

use super::*;

/// Lines of a settings file, valid and broken.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "store",
            "drop_folders",
            "models",
            "settle",
            "quiet",
            "jobs",
            "path",
            "name",
            "version",
            "exclude",
            "user_data",
            "limits",
            "pack",
            "extensions",
            "engine",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    let value = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "s",
            "[a, b]",
            "{path: x}",
            "1.0",
            "300ms",
            "-",
            "~",
            "*a",
            "&a",
            "!t x",
            "|",
            ">-",
            "'",
            "\"",
            "# c",
            "[[",
            "}",
            "true",
            "0x1F",
            "1e999",
            "---",
            "? x",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    (0..4_usize, any::<bool>(), key, value).prop_map(|(indent, item, key, value)| {
        format!("{}{}{key}: {value}\n", "  ".repeat(indent), if item { "- " } else { "" })
    })
}

fn span() -> impl Strategy<Value = Duration> {
    (10..100_000_u64).prop_map(Duration::from_millis)
}

fn ordered(mut spans: [Duration; 3]) -> [Duration; 3] {
    spans.sort();
    spans
}

fn config() -> impl Strategy<Value = Config> {
    let folders = prop::collection::btree_set("d[a-z0-9]{1,6}", 1..4);
    let names = prop::collection::btree_set("m[a-z0-9.-]{0,3}x", 0..4);
    let numbers = (1..=256_usize, 1..=9_u8, 1..1_000_000_usize, 1..100_usize, 0..9_usize);
    let sizes = [1024..u64::MAX, 1024..u64::MAX, 1024..u64::MAX];
    let spans = prop::array::uniform6(span());
    let more = (any::<[bool; 4]>(), 1..=100_u8, "[ -~äß\n]{0,20}");
    (folders, names, numbers, sizes, spans, more).prop_map(
        |(folders, names, numbers, sizes, spans, ([adopt, sha, poll, spare], ratio, text))| {
            let [a, b, c, d, e, f] = spans;
            let [quiet, quiet_long, max_wait] = ordered([a, b, c]);
            let drops = folders.into_iter().map(|name| Path::new("/w").join(name)).collect();
            let models = names.into_iter().map(|name| ModelEntry {
                path: Path::new("/m").join(&name),
                settings: Settings {
                    version: Some(text.clone()),
                    user_data: Some(serde_json::json!({ "text": text, "list": [numbers.2] })),
                    exclude: adopt.then(|| vec![format!("*.{name}")]),
                    ..Settings::default()
                },
            });
            Config {
                models: models.collect(),
                settle: Settle { quiet, quiet_long, max_wait },
                rescan_interval: d,
                poll_interval: e,
                shutdown_grace: f,
                jobs: numbers.0,
                adopt,
                archive_sha256: sha,
                history: History {
                    keep: numbers.4,
                    spare: if spare { SpareMode::Auto } else { SpareMode::Off },
                },
                watch_mode: if poll { WatchMode::Poll } else { WatchMode::Native },
                limits: Limits {
                    total_size: sizes[0],
                    file_size: sizes[1],
                    files: numbers.2,
                    depth: numbers.3,
                },
                retry: Retry { initial: d.min(e), max: d.max(e) },
                results: ResultsLog { max_size: sizes[2], keep: numbers.4 },
                pack: PackDefaults {
                    level: numbers.1,
                    store_above: f64::from(ratio) / 100.0,
                    ..PackDefaults::default()
                },
                ..Config::with_defaults("/s".into(), drops)
            }
        },
    )
}

/// The configuration as YAML text with every key.
fn written(config: &Config) -> String {
    let span = |span: Duration| humantime::format_duration(span).to_string();
    let models = config.models.iter().map(|ModelEntry { path, settings }| {
        let mut entry = serde_json::json!({
            "path": path,
            "version": settings.version,
            "user_data": settings.user_data,
        });
        if let Some(exclude) = &settings.exclude {
            entry["exclude"] = serde_json::json!(exclude);
        }
        entry
    });
    let value = serde_json::json!({
        "store": config.store,
        "drop_folders": config.drop_folders,
        "models": models.collect::<Vec<_>>(),
        "settle": {
            "quiet": span(config.settle.quiet),
            "quiet_long": span(config.settle.quiet_long),
            "max_wait": span(config.settle.max_wait),
        },
        "rescan_interval": span(config.rescan_interval),
        "watch_mode": config.watch_mode,
        "poll_interval": span(config.poll_interval),
        "jobs": config.jobs,
        "on_remove": config.on_remove,
        "adopt": config.adopt,
        "history": { "keep": config.history.keep, "spare": config.history.spare },
        "shutdown_grace": span(config.shutdown_grace),
        "state_dir": config.state_dir,
        "archive_sha256": config.archive_sha256,
        "limits": {
            "total_size": config.limits.total_size,
            "file_size": config.limits.file_size,
            "files": config.limits.files,
            "depth": config.limits.depth,
        },
        "retry": { "initial": span(config.retry.initial), "max": span(config.retry.max) },
        "results": { "max_size": config.results.max_size, "keep": config.results.keep },
        "pack": {
            "compression": config.pack.compression,
            "level": config.pack.level,
            "store_above": config.pack.store_above,
        },
    });
    serde_yaml::to_string(&value).unwrap()
}

proptest! {
    #[test]
    fn a_valid_configuration_is_read_back(config in config()) {
        let text = written(&config);
        let (read, warnings) = read(&text).map_err(|problems| {
            TestCaseError::fail(format!("{text}\n{}", printed(&problems)))
        })?;
        prop_assert_eq!(read, config);
        prop_assert_eq!(warnings, []);
    }

    #[test]
    fn any_bytes_are_accepted_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let path = Path::new("x");
        let _ = parse_settings(path, &bytes);
        let _ = parse_manifest_settings(path, &bytes);
        let _ = read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_lines_are_accepted_or_rejected(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.concat();
        let rows = u32::try_from(text.lines().count()).unwrap() + 1;
        match read(&text) {
            Ok((config, _)) => {
                prop_assert!(config.store.is_absolute());
                prop_assert!(!config.drop_folders.is_empty() || !config.models.is_empty());
            }
            Err(problems) => {
                prop_assert!(problems.iter().any(Problem::is_error));
                for problem in problems {
                    prop_assert!(problem.line.is_none_or(|line| (1..=rows).contains(&line)));
                    prop_assert!(!problem.message.is_empty() && !problem.help.is_empty());
                    prop_assert!(!problem.message.contains('\n'), "{:?}", problem);
                }
            }
        }
    }
}
