//! What `POST /events` acknowledges, as a client gives it back to read its own writes.

use std::fmt;
use std::sync::Arc;

use super::{Problem, parameters};
use crate::config::Share;
use crate::consume::Offsets;

/// Next offset of each partition after what was acknowledged: `partition:offset`, parted by dots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Token(Vec<(i32, i64)>);

impl Token {
    /// # Errors
    /// 400, if it is none that was ever given.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let one = |part: &str| {
            let (partition, next) = part.split_once(':')?;
            let (partition, next) = (partition.parse().ok()?, next.parse().ok()?);
            (partition >= 0 && next >= 0).then_some((partition, next))
        };
        let parts: Option<Vec<(i32, i64)>> = text.split('.').map(one).collect();
        parts.map(Self).ok_or_else(|| parameters::bad("token", text, "a token that POST /events answered is allowed"))
    }

    /// The offsets that a view must have reached, in the partitions that its model learns.
    pub(super) fn offsets(&self, topic: &Arc<str>, share: Share) -> Offsets {
        let own = self.0.iter().filter(|(partition, _)| share.has(*partition));
        own.map(|(partition, next)| (Arc::clone(topic), *partition, *next)).collect()
    }

    /// The partitions that it is of.
    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.0.iter().map(|(partition, _)| *partition)
    }
}

impl FromIterator<(i32, i64)> for Token {
    fn from_iter<I: IntoIterator<Item = (i32, i64)>>(reached: I) -> Self {
        Self(reached.into_iter().collect())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (partition, next)) in self.0.iter().enumerate() {
            write!(f, "{}{partition}:{next}", if at == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_else_is_one() {
        let token: Token = [(0, 17), (11, 0)].into_iter().collect();
        assert_eq!(token.to_string(), "0:17.11:0");
        assert_eq!(Token::parse("0:17.11:0").unwrap(), token);
        for text in ["", "0", "0:", "-1:3", "0:-3", "0:17.", "a:b", "0:9223372036854775808"] {
            assert_eq!(Token::parse(text).unwrap_err().code, "bad_token", "{text:?}");
        }
    }
}
