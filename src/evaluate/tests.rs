//! An evaluation as a whole, and its page and its CSV, on streams small enough to count by hand.

use super::testing::{dataset, rated, request};
use super::*;

/// Four users, five items, each user choosing four of them in another order.
fn evaluation(protocol: Protocol) -> Evaluation {
    let pair = |n: u32| rated(&format!("u{}", n % 4), &format!("i{}", (n * 3 + n / 4) % 5), (n % 2 + 4) as f32);
    let request = Request { order: Some(Order::File), ..request(protocol) };
    evaluate(dataset((0..16).map(pair).collect()), &request, &Config::default(), &mut |_| ()).unwrap()
}

#[test]
fn every_learner_is_judged_on_the_same_events_and_compared_to_the_first() {
    let found = evaluation(Protocol::Topn);
    assert_eq!((found.protocol.as_str(), found.events, found.cold_users), ("prequential top-N", 16, 4));
    assert_eq!(found.evaluated + found.cold_users + found.repeats, found.events);
    for learner in &found.learners {
        assert_eq!(learner.all.events, found.evaluated);
        assert_eq!(learner.difference.is_empty(), learner.name == found.learners[0].name);
        let coverage = learner.coverage.unwrap();
        assert!((0.0..=1.0).contains(&coverage) && learner.non_finite == 0, "{learner:?}");
    }
    let json = serde_json::to_value(&found).unwrap();
    let difference = &json["learners"][1]["difference"]["hr_10"];
    assert!(difference["value"].is_number() && difference["low"].is_number(), "{difference}");
    assert!(json["learners"][0]["curves"]["hr_10"]["window"].is_array());
}

#[test]
fn no_learner_follows_the_wall_clock() {
    let without_times = |mut found: Evaluation| {
        for learner in &mut found.learners {
            learner.learn_events_per_second = 0.0;
            learner.score_microseconds = None;
        }
        serde_json::to_string(&found).unwrap()
    };
    for protocol in [Protocol::Rating, Protocol::Topn] {
        assert_eq!(without_times(evaluation(protocol)), without_times(evaluation(protocol)));
    }
}

#[test]
fn the_csv_has_a_row_for_each_learner_and_segment() {
    let found = evaluation(Protocol::Rating);
    let text = to_csv(&found).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    assert_eq!(header, "protocol,dataset,learner,by,segment,events,mae,mae_low,mae_high,rmse,rmse_low,rmse_high");
    let expected: usize = found.learners.iter().map(|learner| 2 + learner.segments.len()).sum();
    assert_eq!(rows.lines().count(), expected);
    assert!(rows.starts_with("prequential rating,made-up,biased-mf,stream,all,16,"), "{rows}");
}

#[test]
fn the_page_holds_all_it_needs_and_nothing_of_it_can_break_out() {
    let mut found = evaluation(Protocol::Topn);
    "<script>alert(1)</script>".clone_into(&mut found.dataset);
    "</script><b>".clone_into(&mut found.learners[0].name);
    let page = to_html(&found);
    let own = page.replace(&plot_script(&page), "");
    assert!(page.len() > 1_000_000 && !own.contains("http"), "{own}");
    for part in [" src=", " href=", "alert(1)</script>", "</script><b>", "@import"] {
        assert!(!own.contains(part), "{part} is in {own}");
    }
    for part in ["HR@10 over all events so far", "NDCG@10 over the latest", "the user's n-th event", "#0072B2"] {
        assert!(own.contains(part) || own.contains(&part.replace('\'', "\\u0027")), "{part} is not in {own}");
    }
}

/// The script of plotly, which is not the program's own.
fn plot_script(page: &str) -> String {
    let (_, rest) = page.split_once("<script").unwrap();
    let (script, _) = rest.split_once("</script>").unwrap();
    script.to_owned()
}

#[test]
fn a_stream_without_a_second_event_of_anybody_has_nothing_to_judge() {
    let rows = vec![rated("a", "x", 5.0), rated("b", "x", 5.0)];
    let request = Request { order: Some(Order::File), ..request(Protocol::Topn) };
    let error = evaluate(dataset(rows), &request, &Config::default(), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("made-up has no event to rank among 2"), "{error}");
}
