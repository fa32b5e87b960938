//! What the demo prints: figures of what was learned, and what it recommends.

use indicatif::HumanCount;

use super::super::out;
use super::super::run::Service;
use super::LASTFM;
use crate::capture::Interaction;
use crate::publish::{Query, View};

/// Items that are shown of what a user has chosen, and recommended to them.
const SHOWN: usize = 5;

/// Whom the demo recommends to.
pub(super) fn shown_user(dataset: &str) -> &'static str {
    if dataset == LASTFM { "2" } else { "196" }
}

/// What the user has rated highest, or done most often.
pub(super) fn favourites(rows: &[Interaction], user: &str) -> Vec<String> {
    let level = |row: &Interaction| row.rating.or(row.count).unwrap_or(1.0);
    let mut own: Vec<_> = rows.iter().filter(|row| row.user == user).collect();
    own.sort_by(|one, other| level(other).total_cmp(&level(one)));
    own.into_iter().take(SHOWN).map(|row| row.item.clone()).collect()
}

pub(super) fn print_table(name: &str, view: &View, (new, seconds): (u64, f64), hash: &str) -> anyhow::Result<()> {
    let learned = view.learned();
    let prequential = &learned.prequential;
    let rate = if new == 0 { "nothing new".to_owned() } else { HumanCount((new as f64 / seconds) as u64).to_string() };
    let error = |model: f64, mean: f64| format!("{model:.4}   (running mean {mean:.4})");
    let mut table = out::table(&["data set", name]);
    table.add_row(["events learned", &HumanCount(prequential.events()).to_string()]);
    table.add_row(["events a second, learned and durable", &rate]);
    table.add_row([
        "users, items",
        &format!("{}, {}", HumanCount(learned.users.len() as u64), HumanCount(learned.items.len() as u64)),
    ]);
    // Counts stand for ratings, so that the error is that of the rating that a count is mapped to.
    let of = if name == LASTFM { " (of counts as ratings)" } else { "" };
    table.add_row([&format!("MAE, test then learn{of}"), &error(prequential.mae(), prequential.mean_mae())]);
    table.add_row([&format!("RMSE, test then learn{of}"), &error(prequential.rmse(), prequential.mean_rmse())]);
    table.add_row(["model SHA-256", hash]);
    out::print(&format!("{table}\n"))
}

pub(super) fn print_recommendations(
    service: &Service,
    view: &View,
    user: &str,
    favourites: &[String],
) -> anyhow::Result<()> {
    let index = service.status.catalog.index(&view.learned().items);
    let entries = service.status.catalog.entries();
    let title = |id: &str| match entries.items.get(id) {
        Some(item) if !item.title.is_empty() => item.title.clone(),
        _ => id.to_owned(),
    };
    let favourites: Vec<_> = favourites.iter().map(|id| title(id)).collect();
    out::print(&format!("user {user} likes {}\n", favourites.join(" · ")))?;
    let recommended = view.recommend(user, &Query::top(SHOWN)).items;
    let has_genres =
        recommended.iter().any(|scored| index.item(scored.item).is_some_and(|item| !item.genres.is_empty()));
    let for_user = format!("for user {user}");
    let mut table =
        if has_genres { out::table(&[&for_user, "genres", "score"]) } else { out::table(&[&for_user, "score"]) };
    for scored in recommended {
        let id = view.learned().items.name(scored.item).map(ToString::to_string).unwrap_or_default();
        let genres = index.item(scored.item).map(|item| item.genres.join(", ")).filter(|_| has_genres);
        let score = format!("{:.2}", scored.score);
        table.add_row([Some(title(&id)), genres, Some(score)].into_iter().flatten());
    }
    out::print(&format!("{table}\n"))
}
