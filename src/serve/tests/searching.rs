//! Lists that may miss some of the best items: that they say so, and how many they miss.

use super::*;
use crate::config::{LearnerKind, SearchKind};

/// A model of inner products with so many items that a graph is worth it.
async fn many_items(search: SearchKind) -> Served {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (LearnerKind::BiasedMf, LearnerKind::BiasedMf);
    config.biased_mf.factors = 4;
    (config.serve.search, config.serve.search_ef) = (search, 32);
    let event = |item: u32| testing::event(if item < 30 { "u" } else { "v" }, item.to_string(), 5.0);
    state_under(config, (0..1_200).map(event).collect()).await
}

async fn recommend(state: &Served, body: Value) -> Value {
    let (status, body) = send(state, "POST", "/recommend", body).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// Asks until the answer is as it should be.
async fn until(mut ask: impl AsyncFnMut() -> Option<Value>) -> Value {
    for _ in 0..3_000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not become so");
}

async fn searches(state: &Served) -> Value {
    get(state, "/model").await.2["search"].clone()
}

#[tokio::test]
async fn an_approximate_list_says_so_and_its_recall_is_told() {
    let state = many_items(SearchKind::Approximate).await;
    let first = recommend(&state, json!({"user": "u", "n": 5})).await;
    assert_eq!(first.get("approximate"), None, "there is no graph yet: {first}");
    assert_eq!(searches(&state).await["recall"], Value::Null);
    let near = until(async || {
        let answer = recommend(&state, json!({"user": "u", "n": 5})).await;
        (answer.get("approximate") == Some(&json!(true))).then_some(answer)
    });
    let near = near.await;
    let items = near["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    // Scores are as those of the whole list, and what was seen is left out.
    let whole = recommend(&state, json!({"user": "u", "n": 1000})).await;
    assert_eq!(whole.get("approximate"), None, "more items than the search keeps in sight");
    for item in items {
        assert!(whole["items"].as_array().unwrap().contains(item), "{item}");
        assert!(item["id"].as_str().unwrap().parse::<u32>().unwrap() >= 30);
    }
    let few = recommend(&state, json!({"user": "u", "n": 5, "candidates": ["40", "50", "60"]})).await;
    assert_eq!((few.get("approximate"), few["items"].as_array().unwrap().len()), (None, 3));
    assert_eq!(recommend(&state, json!({"user": "nobody", "n": 5})).await.get("approximate"), None);

    let told = until(async || Some(searches(&state).await).filter(|told| told["compared"] != 0)).await;
    assert_eq!(told["kind"], "approximate");
    assert!(told["approximate"].as_u64() >= Some(1) && told["exact"].as_u64() >= Some(3), "{told}");
    let recall = told["recall"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&recall), "{told}");
    let metrics = get(&state, "/metrics").await.2.as_str().unwrap().to_owned();
    assert!(metrics.contains("freshet_lists_total{way=\"approximate\"}"), "{metrics}");
    let line = metrics.lines().find_map(|line| line.strip_prefix("freshet_list_recall ")).unwrap();
    assert!((0.0..=1.0).contains(&line.parse::<f64>().unwrap()), "{line}");
}

#[tokio::test]
async fn every_list_is_exact_unless_it_is_said_otherwise() {
    let state = many_items(SearchKind::Exact).await;
    for _ in 0..3 {
        assert_eq!(recommend(&state, json!({"user": "u", "n": 5})).await.get("approximate"), None);
    }
    let told = searches(&state).await;
    assert_eq!(told, json!({"kind": "exact", "exact": 3, "approximate": 0, "compared": 0, "recall": null}));
}
