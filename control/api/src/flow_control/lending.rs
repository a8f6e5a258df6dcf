//! How the seats of the server are divided among priority levels that lend to and borrow from each other.

/// What one level is to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// What it is to get in proportion to the others.
    pub target: f64,
    /// It never gets less, unless those who are not limited took what was left.
    pub least: f64,
    /// Nor more.
    pub most: f64,
    /// Even then it keeps this.
    pub kept: f64,
}

/// A level that demands nothing has a share of what is over nonetheless.
const SMALLEST_TARGET: f64 = 0.001;
/// Halvings of the interval in which the fair proportion lies: more than a number has digits.
const STEPS: usize = 200;

impl Claim {
    fn at(&self, proportion: f64) -> f64 {
        (proportion * self.target.max(SMALLEST_TARGET)).clamp(self.least, self.most.max(self.least))
    }
}

/// Divides `sum` when so many seats of it are left by those who are not limited; also tells the proportion, if there was one.
pub(super) fn divide(sum: f64, left: f64, claims: &[Claim]) -> (Vec<f64>, f64) {
    let kept: f64 = claims.iter().map(|claim| claim.kept).sum();
    let least: f64 = claims.iter().map(|claim| claim.least).sum();
    if left > least {
        return in_proportion(sum, claims);
    }
    let part = if left > kept { (left - kept) / (least - kept) } else { 0.0 };
    (claims.iter().map(|claim| claim.kept + (claim.least - claim.kept) * part).collect(), 0.0)
}

/// Divides `sum` in proportion to the targets, within the bounds of each; also tells the proportion. Where the bounds do not admit
/// the sum, everybody gets the bound that is nearest.
fn in_proportion(sum: f64, claims: &[Claim]) -> (Vec<f64>, f64) {
    let total = |proportion: f64| claims.iter().map(|claim| claim.at(proportion)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    let last = claims.iter().map(|claim| claim.most / claim.target.max(SMALLEST_TARGET)).fold(1.0, f64::max);
    while high < last && total(high) < sum {
        high *= 2.0;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if total(middle) < sum { low = middle } else { high = middle }
    }
    (claims.iter().map(|claim| claim.at(high)).collect(), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(sum: f64, claims: &[(f64, f64, f64)]) -> Vec<i64> {
        let claim = |&(target, least, most): &(f64, f64, f64)| Claim { target, least, most, kept: least };
        let claims: Vec<Claim> = claims.iter().map(claim).collect();
        #[allow(clippy::cast_possible_truncation)]
        in_proportion(sum, &claims).0.into_iter().map(|got| got.round() as i64).collect()
    }

    #[test]
    fn without_bounds_in_proportion() {
        assert_eq!(rounded(60.0, &[(10.0, 0.0, 100.0), (20.0, 0.0, 100.0)]), [20, 40]);
    }

    #[test]
    fn what_one_cannot_take_others_get() {
        assert_eq!(rounded(60.0, &[(10.0, 0.0, 15.0), (20.0, 0.0, 100.0)]), [15, 45]);
        assert_eq!(rounded(60.0, &[(1.0, 30.0, 100.0), (100.0, 0.0, 100.0)]), [30, 30]);
    }

    #[test]
    fn idle_levels_lend_what_they_may() {
        // Of 50 nominal seats each, the second has lent all that it may.
        assert_eq!(rounded(100.0, &[(500.0, 50.0, 650.0), (5.0, 5.0, 650.0)]), [95, 5]);
    }

    #[test]
    fn nobody_asks() {
        let all = rounded(90.0, &[(0.0, 0.0, 600.0), (0.0, 0.0, 600.0), (0.0, 30.0, 30.0)]);
        assert_eq!(all, [30, 30, 30]);
    }

    #[test]
    fn bounds_that_do_not_admit_the_sum() {
        assert_eq!(rounded(100.0, &[(1.0, 0.0, 10.0), (1.0, 0.0, 20.0)]), [10, 20]);
        assert_eq!(rounded(10.0, &[(10.0, 10.0, 10.0), (20.0, 20.0, 20.0)]), [10, 20]);
    }

    #[test]
    fn what_is_left_by_the_exempt() {
        let claims = [
            Claim { target: 50.0, least: 50.0, most: 100.0, kept: 10.0 },
            Claim { target: 10.0, least: 10.0, most: 100.0, kept: 10.0 },
        ];
        assert_eq!(divide(100.0, 20.0, &claims).0, [10.0, 10.0]);
        assert_eq!(divide(100.0, 40.0, &claims).0, [30.0, 10.0]);
        let (all, proportion) = divide(100.0, 100.0, &claims);
        assert!((all.iter().sum::<f64>() - 100.0).abs() < 1e-6 && proportion > 1.0);
    }
}
