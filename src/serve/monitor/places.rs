//! Where users are, by their ZIP codes.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Serialize;
use utoipa::ToSchema;

/// A place on the map.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::serve) struct Place {
    /// Degrees north.
    pub(in crate::serve) lat: f64,
    /// Degrees east.
    pub(in crate::serve) lon: f64,
    /// City and state.
    pub(in crate::serve) name: String,
}

/// The places of the United States by ZIP code. Reading them in takes a moment.
#[derive(Debug)]
pub(in crate::serve) struct Places(HashMap<&'static str, Place>);

impl Places {
    /// The places, read in at the first call.
    pub(in crate::serve) fn load() -> &'static Self {
        static PLACES: OnceLock<Places> = OnceLock::new();
        PLACES.get_or_init(|| {
            let place = |zip: &'static zipcodes::Zipcode| {
                let name = format!("{}, {}", zip.city, zip.state);
                Some((zip.zip_code.as_str(), Place { lat: zip.lat.parse().ok()?, lon: zip.long.parse().ok()?, name }))
            };
            Self(zipcodes::database().iter().filter_map(place).collect())
        })
    }

    /// The place of a code; none for one that is of another country or wrong.
    pub(in crate::serve) fn find(&self, zip: &str) -> Option<&Place> {
        // A code may go on with a dash and four digits.
        self.0.get(zip.trim().get(..5)?)
    }
}
