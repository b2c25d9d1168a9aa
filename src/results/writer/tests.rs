//! When what has gathered is written.

use super::*;

#[test]
fn news_without_end_do_not_put_off_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("hidden");
    std::fs::write(&hidden, "in the way").unwrap();
    let mut desk = Desk {
        log: Log::new(hidden.join(RESULTS_FILE), ResultsLog { max_size: 1 << 20, keep: 1 }),
        catalog_path: hidden.join(CATALOG_FILE),
        catalog: Catalog::empty(clock::timestamp()),
        catalog_changed: true,
        records: Vec::new(),
        rest_until: None,
        failing: None,
        clock: Clock::new(),
        listener: None,
    };
    desk.write();
    assert!(desk.failing.is_some(), "there can be no folder");
    std::fs::remove_file(&hidden).unwrap();
    // The time has come, and news are there already.
    desk.failing = Some(Moment::default());
    let (news, inbox) = mpsc::channel();
    news.send(News::Delisted("a".into())).unwrap();
    assert!(desk.turn(&inbox));
    assert!(desk.failing.is_none() && hidden.join(CATALOG_FILE).exists());
}

#[test]
fn a_missing_catalog_is_written_once_with_the_first_news_and_without_any_too() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = dir.path().join(CATALOG_FILE);
    let mut desk = Desk {
        log: Log::new(dir.path().join(RESULTS_FILE), ResultsLog { max_size: 1 << 20, keep: 1 }),
        catalog_path: catalog.clone(),
        catalog: Catalog::empty(clock::timestamp()),
        catalog_changed: true,
        records: Vec::new(),
        rest_until: Some(Moment::at(Duration::from_secs(3600))),
        failing: None,
        clock: Clock::new(),
        listener: None,
    };
    let (news, inbox) = mpsc::channel();
    news.send(News::Delisted("a".into())).unwrap();
    assert!(desk.turn(&inbox) && !catalog.exists(), "more news may be there");
    assert!(desk.turn(&inbox) && catalog.exists(), "there is no more");

    std::fs::remove_file(&catalog).unwrap();
    (desk.catalog_changed, desk.rest_until) = (true, Some(Moment::default()));
    assert!(desk.turn(&inbox) && catalog.exists(), "nothing has come in time");
}
