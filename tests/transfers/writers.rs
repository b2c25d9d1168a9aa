//! Writers that pause: with the file open, with only a mapping left, through another name.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use marwatch::results::Outcome;

use super::{QUIET, STALL, judge, judge_settled, noise, packed, site, wait_for};
use crate::common::daemon::Daemon;
use crate::common::run;
use crate::common::service;

/// Rewrites files of a published model and stalls in the middle of one; an error if a wrong archive
/// was published.
fn stall(protection: Option<&str>) -> Result<(), String> {
    let site = site();
    let model = site.put("m", &[("service.py", &service("one"))]);
    fs::write(model.join("weights.bin"), noise("old", 100_000)).unwrap();
    let mut daemon = Daemon::start_without(&site, protection);
    daemon.next("m", Outcome::Published);
    let old = packed(&model);
    let (new, content) = (service("two"), noise("new", 150_000));
    let mut writer = File::create(model.join("weights.bin")).unwrap();
    for part in content.chunks(50_000) {
        writer.write_all(part).unwrap();
        fs::write(model.join("service.py"), &new).unwrap();
        daemon.pause(STALL);
    }
    drop(writer);
    judge_settled(daemon, &site, &[&old])
}

#[test]
fn no_unfinished_state_of_a_writer_that_stalls_is_published() {
    stall(None).unwrap();
}

#[test]
fn control_a_missing_lease_probe_is_noticed() {
    let found = stall(Some("lease-probe")).unwrap_err();
    assert!(found.contains("no settled state"), "{found}");
}

/// Writes many files one after the other, faster than marwatch waits and none open for long; an
/// error if a wrong archive was published.
fn trickle(protection: Option<&str>) -> Result<(), String> {
    let site = site();
    let mut daemon = Daemon::start_without(&site, protection);
    let clock = marwatch::clock::Clock::new();
    // If the machine delays the test for longer than the quiet time, that state was settled.
    for attempt in 0..10 {
        let name = format!("m{attempt}");
        let model = site.drop.join(&name);
        fs::create_dir(&model).unwrap();
        let mut last = clock.now();
        let mut slowest = std::time::Duration::ZERO;
        for number in 0..15 {
            fs::write(model.join("service.py"), service(&format!("{number}"))).unwrap();
            fs::write(model.join(format!("part{number}")), noise("part", 1000)).unwrap();
            let now = clock.now();
            slowest = slowest.max(now.since(last));
            last = now;
            daemon.pause(QUIET / 6);
        }
        let state = packed(&model);
        wait_for(&mut daemon, &site.archive(&name), &state);
        if slowest < QUIET / 2 {
            daemon.stop();
            return judge(&site, &name, &[&state]);
        }
    }
    panic!("the machine is too slow to write a file now and then");
}

#[test]
fn files_that_come_one_after_the_other_are_published_together() {
    trickle(None).unwrap();
}

#[test]
fn control_a_missing_quiet_time_is_noticed() {
    let found = trickle(Some("quiet-time")).unwrap_err();
    assert!(found.contains("no settled state"), "{found}");
}

/// Lines that compress well.
fn text(length: usize) -> Vec<u8> {
    let lines = (0u64..).flat_map(|line| format!("{:x} {line}\n", line * line).into_bytes());
    lines.take(length).collect()
}

/// Replaces two files atomically, again and again while they are packed; an error if a wrong
/// archive was published.
fn race(protection: Option<&str>) -> Result<(), String> {
    let site = site();
    site.configure(&format!(
        "{}jobs: 1\n",
        super::TERMS.replace("300ms", "20ms").replace("600ms", "20ms")
    ));
    let model = site.put("m", &[("service.py", &service("one"))]);
    // By path: the first file, one that takes long to pack (it compresses, so it is not packed
    // before the others), and the last.
    let mut text = text(16 << 20);
    fs::write(model.join("long.txt"), &text).unwrap();
    let write = |state: usize| {
        for (name, length) in [("a.txt", 30_000), ("z.txt", 30_000)] {
            let path = site.root.join("prepared").join(name);
            fs::write(&path, noise(&format!("{state}{name}"), length)).unwrap();
            fs::rename(path, model.join(name)).unwrap();
        }
    };
    let service_alone = packed(&model);
    let state = |long: &[u8], number: usize| {
        let mut members = service_alone.clone();
        members.insert("long.txt".into(), long.to_vec());
        for name in ["a.txt", "z.txt"] {
            members.insert(name.into(), noise(&format!("{number}{name}"), 30_000));
        }
        members
    };
    write(0);
    let mut daemon = Daemon::start_without(&site, protection);
    daemon.next("m", Outcome::Published);
    let mut states = vec![state(&text, 0)];
    for number in 1..12 {
        // Each time a little later in the build.
        text[0] = b'a' + number as u8;
        fs::write(model.join("long.txt"), &text).unwrap();
        daemon.pause(std::time::Duration::from_millis(30 + 40 * number as u64));
        states.push(state(&text, number - 1));
        write(number);
        states.push(state(&text, number));
    }
    let last = packed(&model);
    wait_for(&mut daemon, &site.archive("m"), &last);
    daemon.stop();
    judge(&site, "m", &states.iter().collect::<Vec<_>>())
}

#[test]
fn no_archive_mixes_files_that_are_replaced_during_a_build() {
    race(None).unwrap();
}

#[test]
fn control_a_missing_recheck_is_noticed() {
    // The scheduler decides at which point the writer meets the build.
    let found = (0..3).find_map(|_| race(Some("recheck")).err()).unwrap();
    assert!(found.contains("no settled state"), "{found}");
}

#[test]
fn a_mapping_without_a_descriptor_counts_as_a_writer() {
    let site = site();
    let model = site.put("m", &[("service.py", &service("one"))]);
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let old = packed(&model);
    // Python closes the file and keeps the mapping, as programs that write weights do.
    let script = "import mmap, os, sys\n\
        f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n\
        os.ftruncate(f, 1 << 20)\n\
        m = mmap.mmap(f, 1 << 20)\n\
        os.close(f)\n\
        m[:1 << 19] = b'a' * (1 << 19)\n\
        print('half', flush=True)\n\
        sys.stdin.readline()\n\
        m[1 << 19:] = b'b' * (1 << 19)\n\
        m.close()\n";
    let mut writer = Command::new("python3")
        .args(["-c", script])
        .arg(model.join("weights.bin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut half = String::new();
    let mut stdout = std::io::BufReader::new(writer.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut half).unwrap();
    daemon.pause(STALL);
    fs::write(model.join("service.py"), service("two")).unwrap();
    daemon.pause(STALL);
    assert_eq!(judge(&site, "m", &[&old]), Ok(()));
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    assert!(packed(&model)["weights.bin"].ends_with(b"b"));
    judge_settled(daemon, &site, &[&old]).unwrap();
}

#[test]
fn a_writer_through_a_hard_link_is_noticed() {
    let site = site();
    let model = site.put("m", &[("service.py", &service("one")), ("weights.bin", "old weights")]);
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let old = packed(&model);
    let other = site.root.join("other-name");
    fs::hard_link(model.join("weights.bin"), &other).unwrap();
    let mut writer = OpenOptions::new().write(true).open(&other).unwrap();
    writer.write_all(b"half new").unwrap();
    // Writing through the other name causes no notification; this does.
    fs::write(model.join("service.py"), service("two")).unwrap();
    daemon.pause(STALL);
    assert_eq!(judge(&site, "m", &[&old]), Ok(()));
    writer.write_all(b", and the other half").unwrap();
    drop(writer);
    judge_settled(daemon, &site, &[&old]).unwrap();
}

#[test]
fn truncated_files_are_published_only_when_complete() {
    let site = site();
    let model = site.put("m", &[("service.py", &service("one"))]);
    fs::write(model.join("weights.bin"), noise("old", 100_000)).unwrap();
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let old = packed(&model);
    let mut writer = OpenOptions::new().write(true).open(model.join("weights.bin")).unwrap();
    run(Command::new("truncate").args(["-s", "0"]).arg(model.join("weights.bin")));
    daemon.pause(STALL);
    writer.set_len(50_000).unwrap();
    daemon.pause(STALL);
    writer.write_all_at(&noise("new", 30_000), 0).unwrap();
    writer.seek(SeekFrom::End(0)).unwrap();
    run(Command::new("sed").args(["-i", "s/one/two/"]).arg(model.join("service.py")));
    daemon.pause(STALL);
    assert_eq!(judge(&site, "m", &[&old]), Ok(()));
    writer.write_all(b"end").unwrap();
    drop(writer);
    let second = packed(&model);
    wait_for(&mut daemon, &site.archive("m"), &second);
    // A file that is moved over another is complete at once.
    let prepared = site.root.join("prepared/weights.bin");
    fs::write(&prepared, noise("third", 70_000)).unwrap();
    run(Command::new("mv").arg(&prepared).arg(model.join("weights.bin")));
    judge_settled(daemon, &site, &[&old, &second]).unwrap();
}
