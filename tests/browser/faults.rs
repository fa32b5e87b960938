//! What goes wrong while the page is open: the engine dies, it hangs, the tab sleeps, and dead letters are mended.

use std::thread;
use std::time::Duration;

use freshet::capture::producer::{self, Record};
use freshet::config::Config;
use serde_json::json;

use crate::site::Site;

/// What the browser itself says of a connection that ended or cannot be had, and of an answer that is no success: a page
/// cannot keep it from that.
const REFUSED: &str = "Failed to load resource";

/// Streams that the page has opened and that have ended.
const STREAMS: &str = "performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('/live')).length";

/// What a tab notices that was not looked at for an hour by the clock on the wall.
const SLEEP: &str = "
    const now = Date.now;
    Date.now = () => now() + 3_600_000;
    for (const value of [true, false]) {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }";

/// Puts records on the log that are no events.
pub(crate) fn dead_letters_of_the_log(site: &Site) {
    let mut config = Config::default();
    config.store.data_dir = site.freshet.path("freshet-data");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let producer = producer::open(&config).await.unwrap();
        for payload in [&br#"{"user":"1","item":"1","rating":9}"#[..], b"\xff\xfe garbage", b"<b>bold</b>"] {
            let record = Record { key: b"1".to_vec(), payload: payload.to_vec(), ..Record::default() };
            producer.send(record).await.unwrap();
        }
        assert_eq!(producer.flush().await.unwrap().failed, 0);
    });
}

#[test]
fn the_page_outlives_its_engine_and_a_sleep() {
    let Some(mut site) = Site::start() else { return };
    site.open();
    site.fills("stream");
    let address = site.engine.address().to_owned();
    site.engine.kill();
    site.browser.wait("the page says so", "document.querySelector('#state').textContent.includes('Disconnected')");
    let told = "/[Dd]isconnected/.test(document.querySelector('#stream .notice').textContent)";
    site.browser
        .wait("its panels say so", &format!("document.querySelector('#stream').dataset.state === 'error' && {told}"));
    site.engine = site.freshet.start();
    assert_eq!(site.engine.address(), address);
    site.is_fed();
    for panel in ["stream", "learning", "predicted"] {
        site.fills(panel);
    }
    let before = site.browser.text("#total-events");
    let replay = site.replay(100);
    site.browser
        .wait("events are shown again", &format!("document.querySelector('#total-events').textContent !== {before:?}"));

    // A server that hangs: nothing comes, and the connection stays. The page does not wait for ever.
    site.engine.signal("STOP");
    thread::sleep(Duration::from_secs(2));
    let asleep = "document.querySelector('#state').dataset.feed !== 'live'";
    site.browser.wait_for("the silence is noticed", asleep, Duration::from_secs(30));
    site.engine.signal("CONT");
    site.is_fed();

    // A tab that slept for an hour by the wall clock connects again as it wakes up, and says nothing that is old.
    site.browser.js(&format!("window.streams = {STREAMS}; {SLEEP}"));
    site.browser.wait("it has connected again", &format!("{STREAMS} > window.streams"));
    site.is_fed();
    let before = site.browser.text("#total-events");
    site.browser
        .wait("events are shown", &format!("document.querySelector('#total-events').textContent !== {before:?}"));
    replay.kill();
    site.is_clean(Some(REFUSED));
}

#[test]
fn a_dead_letter_is_corrected_and_sent_again() {
    let Some(site) = Site::start() else { return };
    dead_letters_of_the_log(&site);
    let browser = &site.browser;
    site.open();
    site.fills("faults");
    browser.wait("the letters are listed", "document.querySelectorAll('#dead-letters tr').length === 3");
    assert!(browser.text("#dead-letters").contains("<b>bold</b>"));
    browser.click("#dead-letters tr:nth-child(1) input[type=checkbox]");
    browser.click("#correct summary");
    browser.fill("#correction", r#"{"user":"1","item":"1","rating":8}"#);
    browser.click("#replay-selected");
    browser.wait(
        "it is refused with its reason",
        "document.querySelector('#faults-result').textContent.includes('rating is 8')",
    );
    browser.fill("#correction", r#"{"user":"1","item":"1","rating":5}"#);
    browser.click("#replay-selected");
    browser.wait("it is sent", "document.querySelector('#faults-result').textContent.includes('1 letter')");
    browser.wait("it is marked", "document.querySelector('#dead-letters tr').textContent.includes('replayed')");
    let letters = site.engine.json("/dead-letters");
    assert_eq!(letters["dead_letters"].as_array().unwrap().len(), 3, "nothing is lost, and none has come back");
    assert_ne!(letters["dead_letters"][0]["replayed_at_ms"], json!(null));
    // The browser tells of every answer that is no success.
    site.is_clean(Some("/dead-letters/replay - Failed to load resource"));
}
