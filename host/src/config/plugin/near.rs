//! Names that are nearly the same, as one that is mistyped.
//!
//! Owns how near that is. Knows no table and no plugin.

/// For so many letters one may be wrong.
const LETTERS: usize = 3;

/// Whether one may be the other with letters that are wrong, missing, too many or exchanged with the
/// next one. Names are ASCII.
#[must_use]
pub fn is_near(one: &str, other: &str) -> bool {
    let steps = steps(one.as_bytes(), other.as_bytes());
    steps > 0 && steps * LETTERS <= one.len().max(other.len())
}

/// The least number of such changes that makes `one` of `other`, none of which touches the letters of
/// another one.
fn steps(one: &[u8], other: &[u8]) -> usize {
    // For each length of `other`'s beginning, of the beginning of `one` so far and the two before it.
    let mut rows = [Vec::new(), Vec::new(), (0..=other.len()).collect::<Vec<_>>()];
    for at in 1..=one.len() {
        rows.rotate_left(1);
        let [before, last, row] = &mut rows;
        row.clear();
        row.push(at);
        for to in 1..=other.len() {
            let is_same = one[at - 1] == other[to - 1];
            let mut least = last[to - 1] + usize::from(!is_same);
            least = least.min(last[to] + 1).min(row[to - 1] + 1);
            if at > 1 && to > 1 && one[at - 1] == other[to - 2] && one[at - 2] == other[to - 1] {
                least = least.min(before[to - 2] + 1);
            }
            row.push(least);
        }
    }
    rows[2][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_by_its_length() {
        for (one, other, count) in [
            ("shop", "shop", 0),
            ("shop", "shpo", 1),
            ("shop", "shopp", 1),
            ("shop", "hop", 1),
            ("shop", "ship", 1),
            ("shop", "sphoo", 2),
            ("my-shop", "my_shop", 1),
            ("", "abc", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(steps(one.as_bytes(), other.as_bytes()), count, "{one} {other}");
            assert_eq!(steps(other.as_bytes(), one.as_bytes()), count, "{other} {one}");
        }
        for (one, other) in [("shop", "shpo"), ("a-b", "a_b"), ("billing", "biling-")] {
            assert!(is_near(one, other), "{one} {other}");
        }
        for (one, other) in [("shop", "shop"), ("v1", "v2"), ("shop", "spoh"), ("shop", "billing")]
        {
            assert!(!is_near(one, other), "{one} {other}");
        }
    }
}
