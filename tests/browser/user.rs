//! Being a user on the page, and what users and titles may be called.

use std::fmt::Write as _;

use serde_json::json;

use crate::site::Site;
use crate::support::say;

/// The key, as the driver's protocol writes it.
const ENTER: char = '\u{e007}';
/// Users in the picker.
const USERS: usize = 10_000;

#[test]
fn a_rating_changes_the_list_of_whoever_gives_it() {
    let Some(site) = Site::start() else { return };
    let browser = &site.browser;
    site.open();
    site.fills("user");
    browser.fill("#user-picker", &format!("visitor{ENTER}"));
    browser.wait("the visitor is picked", "document.querySelector('#who').textContent.includes('visitor')");
    let list = "[...document.querySelectorAll('#recommendations li[data-item]')].map(row => row.dataset.item).join()";
    browser.wait("the list is there", list);
    browser.wait("titles are there", "document.querySelectorAll('#titles [data-rating]').length");
    let title = browser.text("#titles li .title");
    browser.fill("#title-search", title.split_whitespace().next().unwrap_or_default());
    // The first one makes a user known; the second one moves the list of one who is.
    for number in 1..=2 {
        let before = browser.js(&format!("return {list}"));
        browser.js("document.querySelector('#reranked').hidden = true");
        browser.click(&format!("#titles li:nth-child({number}) [data-rating=\"5\"]"));
        browser.wait("the rating is learned", "!document.querySelector('#reranked').hidden");
        browser.wait(&format!("the list is another one than {before}"), &format!("{list} !== {before}"));
        let moved = "/moved|new|gone/.test(document.querySelector('#moves').textContent)";
        browser.wait("what moved is said", moved);
        say(&format!("re-ranked in {}: {}", browser.text("#reranked-ms"), browser.text("#moves")));
    }
    browser.wait("who is near is said", "document.querySelectorAll('#near-users button, #near-items .number').length");
    site.is_clean(None);
}

#[test]
fn html_in_names_is_shown_as_text_and_runs_nothing() {
    let Some(site) = Site::start() else { return };
    let browser = &site.browser;
    let html = "<script>window.ran = 1</script><img src=x onerror=\"window.ran = 2\">Film";
    for item in ["html-1", "html-2", "html-3"] {
        let edit = json!({ "title": format!("{html} {item}"), "genres": ["<b>Drama</b>"], "labels": ["<i>x</i>"] });
        site.send("PUT", &format!("/items/{item}"), &edit);
    }
    let user = "<img src=x onerror='window.ran = 3'>";
    site.open();
    site.fills("user");
    for item in ["html-1", "html-2", "html-3"] {
        for other in [user, "u2", "u3"] {
            site.send("POST", "/events", &json!({ "user": other, "item": item, "rating": 5 }));
        }
    }
    browser.wait("the title is shown", "document.querySelector('#events').textContent.includes('<script>window.ran')");
    browser.wait("the user is shown", "document.querySelector('#events').textContent.includes('<img src=x onerror')");
    browser.fill("#title-search", "<script>window.ran");
    browser.wait("the title is found", "document.querySelector('#titles').textContent.includes('onerror')");
    browser.fill("#user-picker", "<img");
    browser.wait("the user is offered", "document.querySelector('#user-options').textContent.includes('<img')");
    browser.click("#user-options [role=option]");
    browser.wait("the user is picked", "document.querySelector('#who').textContent.includes('<img src=x')");
    for shown in ["#predicted", "#map", "#user", "#factor-map"] {
        browser.reveal(shown);
    }
    browser.wait("the items are drawn", "document.querySelector('#factor-map svg, #factor-map canvas') !== null");
    assert_eq!(browser.js("return window.ran ?? null"), json!(null), "a script of a title has run");
    assert_eq!(
        browser
            .js("return document.querySelectorAll('main img, main script, main b, main i:not([aria-hidden])').length"),
        0
    );
    site.is_clean(None);
}

#[test]
fn one_of_ten_thousand_users_is_found() {
    let Some(site) = Site::start() else { return };
    let browser = &site.browser;
    for part in (0..USERS).collect::<Vec<_>>().chunks(500) {
        let events = part.iter().fold(String::new(), |mut lines, user| {
            let _ = writeln!(lines, r#"{{"user":"person-{user}","item":"{}","rating":4}}"#, user % 50);
            lines
        });
        let (status, answer) = site.engine.send("POST", "/events", "application/x-ndjson", &events);
        assert_eq!(status, 200, "{answer}");
    }
    site.open();
    site.fills("user");
    browser.wait(
        "all are known",
        &format!("Number(document.querySelector('#total-users').textContent.replace(/\\D/g, '')) >= {USERS}"),
    );
    browser.fill("#user-picker", "person-77");
    browser.wait(
        "the exact one is offered first",
        "document.querySelector('#user-options [role=option] strong')?.textContent === 'person-77'",
    );
    let offered = browser.js("return document.querySelectorAll('#user-options [role=option]').length");
    assert!(offered.as_u64() <= Some(50), "a page of them, and not all: {offered}");
    browser.fill("#user-picker", "person-9999");
    browser.wait(
        "the last one is offered",
        "document.querySelector('#user-options [role=option] strong')?.textContent === 'person-9999'",
    );
    browser.click("#user-options [role=option]");
    browser.wait("he is picked", "document.querySelector('#who').textContent.includes('person-9999')");
    browser.wait("he has a list", "document.querySelectorAll('#recommendations li[data-item]').length");
    site.is_clean(None);
}
