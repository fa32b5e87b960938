//! What a request asks for in its query string: each parameter checked, none ignored.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query as QueryString};
use axum::http::Uri;
use axum::http::request::Parts;
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::Problem;
use super::moment::MomentParameters;
use crate::decode::MAX_ID_BYTES;
use crate::learn::ids::IdTable;
use crate::publish::View;

/// Parameters as they came, in their order.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    /// The parameters, whatever their names.
    ///
    /// # Errors
    /// 400, if the query string is none.
    pub(super) fn unchecked(uri: &Uri) -> Result<Self, Problem> {
        let QueryString(pairs) =
            QueryString::try_from_uri(uri).map_err(|error| Problem::bad_request("bad_query", error.body_text()))?;
        Ok(Self(pairs))
    }

    /// The parameters of a route that has those of `P`, and the ones of its moment.
    ///
    /// # Errors
    /// 400, if one is unknown or given twice.
    pub(super) fn of<P: IntoParams + 'static>(uri: &Uri) -> Result<Self, Problem> {
        Self::unchecked(uri)?.named(names::<P>)
    }

    /// The parameters of a route that has those of `P` and no others.
    ///
    /// # Errors
    /// 400, if one is unknown or given twice.
    pub(super) fn only<P: IntoParams>(uri: &Uri) -> Result<Self, Problem> {
        let list = || P::into_params(|| Some(ParameterIn::Query));
        Self::unchecked(uri)?.named(|| list().into_iter().map(|parameter| parameter.name).collect())
    }

    fn named(self, names: impl FnOnce() -> Arc<[String]>) -> Result<Self, Problem> {
        let given = self;
        if given.0.is_empty() {
            return Ok(given);
        }
        let names = names();
        for (at, (name, _)) in given.0.iter().enumerate() {
            if !names.contains(name) {
                let detail = format!("there is no parameter {name:?}; allowed are {}", names.join(", "));
                return Err(Problem::bad_request("unknown_parameter", detail));
            }
            if given.0[..at].iter().any(|(other, _)| other == name) {
                let detail = format!("{name} is given twice; give it once (several ids are parted by commas)");
                return Err(Problem::bad_request("repeated_parameter", detail));
            }
        }
        Ok(given)
    }

    /// A parameter as text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a whole number.
    ///
    /// # Errors
    /// 400 with the code `bad_` and its name.
    pub(super) fn whole<N>(&self, name: &'static str, low: N, high: N) -> Result<Option<N>, Problem>
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let allowed = || format!("a whole number from {low} to {high} is allowed");
        self.parsed(name, |number| (low..=high).contains(number), allowed)
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// 400 with the code `bad_` and its name.
    pub(super) fn number<N>(&self, name: &'static str, low: N, high: N) -> Result<Option<N>, Problem>
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        self.parsed(
            name,
            |number| (low..=high).contains(number),
            || format!("a number from {low} to {high} is allowed"),
        )
    }

    /// A parameter that is `true` or `false`; false where it is not given.
    ///
    /// # Errors
    /// 400 with the code `bad_` and its name.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        Ok(self.parsed(name, |_| true, || "true or false is allowed".into())?.unwrap_or(false))
    }

    /// A parameter that is one of these.
    ///
    /// # Errors
    /// 400 with the code `bad_` and its name.
    pub(super) fn one_of<T: Copy>(&self, name: &'static str, values: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = values.iter().find(|(value, _)| *value == text).map(|(_, meaning)| *meaning);
        let names = || values.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| bad(name, text, &format!("allowed are {}", names())))
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        name: &'static str,
        fits: impl Fn(&T) -> bool,
        allowed: impl Fn() -> String,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().ok().filter(fits).map(Some).ok_or_else(|| bad(name, text, &allowed()))
    }

    /// Items by ids that are parted by commas. An id that the model does not know names no item that could be shown.
    pub(super) fn items(&self, name: &str, items: &IdTable) -> Option<RoaringBitmap> {
        self.get(name).map(|text| text.split(',').filter_map(|id| items.get(id)).collect())
    }
}

/// Names of the parameters of `P` and of a moment. Made once, since they are made of descriptions.
fn names<P: IntoParams + 'static>() -> Arc<[String]> {
    static NAMES: RwLock<BTreeMap<TypeId, Arc<[String]>>> = RwLock::new(BTreeMap::new());
    let kind = TypeId::of::<P>();
    if let Some(names) = NAMES.read().get(&kind) {
        return Arc::clone(names);
    }
    let lists = [P::into_params, MomentParameters::into_params].map(|list| list(|| Some(ParameterIn::Query)));
    let names = lists.into_iter().flatten().map(|parameter| parameter.name).collect();
    Arc::clone(NAMES.write().entry(kind).or_insert(names))
}

/// The parameters of both.
pub(super) struct Both<A, B>(PhantomData<(A, B)>);

impl<A: IntoParams, B: IntoParams> IntoParams for Both<A, B> {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        A::into_params(&place).into_iter().chain(B::into_params(&place)).collect()
    }
}

/// 400: this parameter or field is this, and that is allowed.
pub(super) fn bad(name: &str, found: &str, allowed: &str) -> Problem {
    // What is far too long is not told in full.
    let shown: Cow<'_, str> = match found.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &found[..end]).into(),
        None => found.into(),
    };
    Problem::bad_request(format!("bad_{name}"), format!("{name} is {shown:?}; {allowed}"))
}

/// Ids in the path.
pub(super) struct Ids<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send + AsRef<[String]>> FromRequestParts<S> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(ids) = Path::<T>::from_request_parts(parts, state).await.map_err(|error| unreadable(&error))?;
        for id in ids.as_ref() {
            check_id("id", id)?;
        }
        Ok(Self(ids))
    }
}

/// Dense index of a user.
///
/// # Errors
/// 404, if the model does not know him.
pub(super) fn known_user(view: &View, id: &str) -> Result<u32, Problem> {
    view.learned().users.get(id).ok_or_else(|| Problem::unknown("user", id))
}

/// Dense index of an item.
///
/// # Errors
/// 404, if the model does not know it.
pub(super) fn known_item(view: &View, id: &str) -> Result<u32, Problem> {
    view.learned().items.get(id).ok_or_else(|| Problem::unknown("item", id))
}

/// 400 where a user or an item cannot have this id.
pub(super) fn check_id(name: &str, id: &str) -> Result<(), Problem> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(());
    }
    Err(Problem::bad_request(
        format!("bad_{name}"),
        format!("{name} has {} bytes; an id has 1 to {MAX_ID_BYTES} bytes", id.len()),
    ))
}

fn unreadable(error: &PathRejection) -> Problem {
    let detail = match error {
        PathRejection::FailedToDeserializePathParams(inner) => match inner.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => {
                format!("{key} is not UTF-8; write each byte of an id that is no letter or digit as %XX, in UTF-8")
            }
            _ => inner.body_text(),
        },
        _ => error.body_text(),
    };
    Problem::bad_request("bad_id", detail)
}
