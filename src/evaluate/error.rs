//! Why a stream cannot be evaluated, in words that name the row, the value and what is allowed.

use crate::capture::CaptureError;
use crate::capture::inject::InjectError;
use crate::learn::params::ParamError;

/// Why a stream cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] CaptureError),
    /// The drift cannot be injected.
    #[error(transparent)]
    Inject(#[from] InjectError),
    /// A parameter of a learner is out of its range.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// No row at all.
    #[error("{name} has no rows; at least two users with two events each are needed")]
    Empty {
        /// The data set.
        name: String,
    },
    /// A data set that could be evaluated if it had more in it.
    #[error("{name} has {found}; {needed}")]
    TooFew {
        /// The data set.
        name: String,
        /// What there is.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// A data set of implicit feedback under the rating protocol.
    #[error("{name} has no ratings; the rating protocol needs them; use --protocol topn")]
    NoRatings {
        /// The data set.
        name: String,
    },
    /// One row without a rating under the rating protocol.
    #[error(
        "{row} of {name} has no rating; the rating protocol needs one in each row; add it, leave the row out, or use \
         --protocol topn"
    )]
    NoRating {
        /// The data set.
        name: String,
        /// The row, for people.
        row: String,
    },
    /// A rating outside the accepted range.
    #[error("{row} of {name} has the rating {value}; {low} to {high} is allowed; {advice}")]
    OutOfRange {
        /// The data set.
        name: String,
        /// The row, for people.
        row: String,
        /// The rating.
        value: f32,
        /// Lowest rating allowed.
        low: f32,
        /// Highest rating allowed.
        high: f32,
        /// The setting that would allow it.
        advice: String,
    },
    /// Ratings below the positive ones were asked for where there are none.
    #[error("{name} has no ratings, so that --all-ratings would change nothing; leave it out")]
    NothingBelow {
        /// The data set.
        name: String,
    },
    /// Times that go back.
    #[error(
        "{row} of {name} has ts {ts}, which is before the ts {before} of the row before it; --order time sorts by ts, \
         --order file takes the rows as they stand"
    )]
    Unordered {
        /// The data set.
        name: String,
        /// The row, for people.
        row: String,
        /// Its time.
        ts: i64,
        /// The time of the row before.
        before: i64,
    },
    /// No time in any row, or none in some.
    #[error(
        "{row} of {name} has no ts{others}, so that the rows have no order in time; --order file takes them as they \
         stand, --order hash in an order as good as shuffled that is the same for everyone"
    )]
    NoTime {
        /// The data set.
        name: String,
        /// The first row without a time, for people.
        row: String,
        /// Whether other rows have one, for people.
        others: &'static str,
    },
    /// A learner that predicts no ratings under the rating protocol.
    #[error("{kind} predicts no ratings, which the rating protocol needs; allowed are {allowed}")]
    PredictsNoRatings {
        /// The learner.
        kind: String,
        /// Learners that do.
        allowed: String,
    },
}
