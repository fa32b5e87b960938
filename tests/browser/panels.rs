//! Every panel fills and moves, for everybody: light, dark, on a phone, and for those whom a machine reads it to.

use crate::faults::dead_letters_of_the_log;
use crate::site::{PANELS, Site, axe};
use crate::support::say;

/// Longest time to the first paint, in milliseconds: the best of some loads, since the machine does other things too.
const FIRST_PAINT_MS: f64 = 1000.0;
const LOADS: usize = 3;

#[test]
fn every_panel_fills_and_moves_during_a_replay_and_nothing_is_asked_of_anybody_else() {
    let Some(site) = Site::start() else { return };
    dead_letters_of_the_log(&site);
    let replay = site.replay(120);
    let browser = &site.browser;
    site.open();
    for panel in PANELS {
        site.fills(panel);
    }
    figures_are_there(&site);
    for (what, now) in [
        ("the number of events", "document.querySelector('#total-events').textContent"),
        ("the newest batch", "document.querySelector('#batch-newest').textContent"),
        ("the newest event", "document.querySelector('#events tr')?.dataset.seq"),
        ("the mean error", "document.querySelector('#mae').textContent"),
        ("the outcomes", "document.querySelector('#outcomes').textContent"),
        ("the users on the map", "document.querySelector('#placed').textContent"),
        ("the newest snapshot", "document.querySelector('#snapshots tr')?.textContent"),
    ] {
        let before = browser.js(&format!("return {now}"));
        browser.wait(&format!("{what} moves on from {before}"), &format!("{now} !== {before}"));
    }
    threshold_counts(&site);
    let axe = axe();
    for (scheme, width, height) in [("light", 1280, 900), ("dark", 1280, 900), ("phone", 390, 844)] {
        browser.resize(width, height, scheme == "phone");
        // Things that move are in between two places on a picture.
        browser.prefer(if scheme == "dark" { "dark" } else { "light" }, "reduce");
        for panel in PANELS {
            site.fills(panel);
        }
        browser.reveal("#stream");
        let wide = browser.js("return document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64() <= Some(0), "{scheme}: the page is {wide} pixels wider than the screen");
        say(&format!("screenshot: {}", browser.screenshot(scheme).display()));
        if let Some(axe) = &axe {
            let barriers = browser.barriers(axe);
            assert!(barriers.is_empty(), "{scheme}: axe finds {barriers:#?}");
        }
    }
    site.is_clean(None);
    replay.kill();
    paints_soon(&site);
}

/// What each panel must have beyond its state.
fn figures_are_there(site: &Site) {
    // A chart is drawn where it is looked at.
    for chart in ["batches", "curve", "nth", "histogram", "factor-map"] {
        site.browser.reveal(&format!("#{chart}"));
        let drawn = format!("document.querySelector('#{chart} svg, #{chart} canvas') !== null");
        site.browser.wait(&format!("{chart} is drawn"), &drawn);
    }
    for (what, found) in [
        ("dots on the map", "document.querySelectorAll('#map-drawing circle').length"),
        ("recommendations", "document.querySelectorAll('#recommendations li[data-item]').length"),
        ("reasons of them", "document.querySelector('#recommendations .chip') !== null"),
        ("parameters", "document.querySelectorAll('#params dt').length"),
        ("snapshots", "document.querySelectorAll('#snapshots tr').length"),
        ("dead letters", "document.querySelectorAll('#dead-letters tr').length"),
        ("rejects by reason", "document.querySelectorAll('#rejects li').length"),
    ] {
        site.browser.wait(what, found);
    }
}

/// At any threshold each rating is one of the four, and the higher it is the fewer are predicted to be liked.
fn threshold_counts(site: &Site) {
    let browser = &site.browser;
    let counts = |threshold: &str| -> Vec<u64> {
        browser.js(&format!(
            "const slider = document.querySelector('#threshold'); slider.value = {threshold}; \
             slider.dispatchEvent(new Event('input', {{ bubbles: true }}))"
        ));
        let shown = format!("parseFloat(document.querySelector('#threshold-value').textContent) === {threshold}");
        browser.wait("the threshold is shown", &shown);
        let counts = ["tp", "fp", "fn", "tn"].map(|id| browser.text(&format!("#{id}")));
        counts.map(|count| count.replace(|c: char| !c.is_ascii_digit(), "").parse().unwrap()).to_vec()
    };
    let (low, high) = (counts("2"), counts("4.5"));
    assert!(
        low[0] + low[1] > high[0] + high[1],
        "predicted to be liked: {low:?} from 2 stars on, {high:?} from 4.5 on"
    );
    assert!(low.iter().sum::<u64>() > 0 && high.iter().sum::<u64>() >= low.iter().sum(), "{low:?} {high:?}");
    counts("4");
}

fn paints_soon(site: &Site) {
    let first_paint = |_| {
        site.open();
        let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        site.browser.wait("something is painted", paint).as_f64().unwrap()
    };
    let times: Vec<f64> = (0..LOADS).map(first_paint).collect();
    say(&format!("first contentful paint: {times:.0?} ms"));
    let best = times.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < FIRST_PAINT_MS, "{times:?}");
}
