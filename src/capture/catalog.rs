//! What a data set tells about its items and users: titles, genres, demographics.
//!
//! Apart from the events, because it is static side information: it is stored, shown and may inform a learner, but it is
//! never streamed as feedback.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One item of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Item id, the same as in the events.
    pub id: String,
    /// Title or artist name, as UTF-8.
    pub title: String,
    /// Genres or tags, in the data set's order; empty where it tells none.
    #[serde(default)]
    pub genres: Vec<String>,
    /// Year of release, where the data set tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i32>,
    /// Address of a page about the item, where the data set tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What an operator has labelled it with, to filter by; no data set has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether an operator has hidden it: then it is in no answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// One user, as far as the data set describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// User id, the same as in the events.
    pub id: String,
    /// Age in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u32>,
    /// Gender as the data set writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// Occupation as the data set writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupation: Option<String>,
    /// ZIP or postal code, as text: leading zeros count, and some are not numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    /// What an operator has labelled them with; no data set has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether an operator has hidden them: then they are in no listing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}
