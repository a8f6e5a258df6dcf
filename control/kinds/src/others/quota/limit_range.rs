//! What Kubernetes checks of a LimitRange (`ValidateLimitRange`).
use crate::field::{ErrorType, Errors, Path};
use crate::names;
use crate::quantity::{Format, Quantity};
use crate::resource_names::{self, may_overcommit};
use crate::value::{entries, items, sorted, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Beyond it thousandths do not fit (`resource.MaxMilliValue`).
const MAX_MILLI: i64 = i64::MAX / 1000;

type List = BTreeMap<String, Quantity>;

pub(super) fn validate(range: &Value, errors: &mut Errors) {
    let root = Path::new("spec.limits");
    let mut seen = BTreeSet::new();
    for (index, item) in items(&range["spec"]["limits"]).iter().enumerate() {
        let path = root.index(index);
        let ty = text(&item["type"]);
        validate_type(ty, &path.child("type"), errors);
        if !seen.insert(ty) {
            errors.duplicate(&path.child("type"), ty);
        }
        validate_item(item, ty, &path, errors);
    }
}

fn validate_type(ty: &str, path: &Path<'_>, errors: &mut Errors) {
    let wrong = names::qualified_name(ty);
    if !wrong.is_empty() {
        errors.invalid_each(path, ty, wrong);
    } else if !ty.contains('/') && !matches!(ty, "Pod" | "Container" | "PersistentVolumeClaim") {
        errors.invalid(path, ty, "must be a standard limit type or fully qualified");
    }
}

fn validate_item(item: &Value, ty: &str, path: &Path<'_>, errors: &mut Errors) {
    let max = list(item, "max", ty, path, errors);
    let min = list(item, "min", ty, path, errors);
    let (mut default, mut request) = (List::new(), List::new());
    if ty == "Pod" {
        for field in ["default", "defaultRequest"] {
            if entries(&item[field]).next().is_some() {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
        }
    } else {
        default = list(item, "default", ty, path, errors);
        request = list(item, "defaultRequest", ty, path, errors);
    }
    if ty == "PersistentVolumeClaim" && !min.contains_key("storage") && !max.contains_key("storage") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), detail);
    }
    let ratio = list(item, "maxLimitRequestRatio", ty, path, errors);
    let names: BTreeSet<&String> =
        [&max, &min, &default, &request, &ratio].into_iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let [min, max, default, request, ratio] = [&min, &max, &default, &request, &ratio].map(|list| list.get(name));
        let mut above = |low: Option<&Quantity>,
                         high: Option<&Quantity>,
                         field: &str,
                         shown: Option<&Quantity>,
                         what: [&str; 2]| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let detail = format!("{} value {low} is greater than {} value {high}", what[0], what[1]);
                errors.invalid(&path.child(field).key(name), shown.to_string(), detail);
            }
        };
        above(min, max, "min", min, ["min", "max"]);
        above(min, request, "defaultRequest", request, ["min", "default request"]);
        above(request, max, "defaultRequest", request, ["default request", "max"]);
        above(request, default, "defaultRequest", request, ["default request", "default limit"]);
        above(min, default, "default", min, ["min", "default"]);
        above(default, max, "default", max, ["default", "max"]);
        if let Some(ratio) = ratio {
            validate_ratio(ratio, min, max, &path.child("maxLimitRequestRatio").key(name), errors);
        }
        if let (Some(default), Some(request)) = (default, request)
            && !may_overcommit(name)
            && default != request
        {
            let detail = format!("default value {default} must equal to defaultRequest value {request} in {name}");
            errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), detail);
        }
    }
}

fn validate_ratio(
    ratio: &Quantity,
    min: Option<&Quantity>,
    max: Option<&Quantity>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    if *ratio < Quantity::new(1, Format::DecimalSI) {
        errors.invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (min, max) else { return };
    let fits = [ratio, min, max].iter().all(|quantity| quantity.value() < MAX_MILLI);
    let (wanted, low, high) = if fits {
        (ratio.milli_value() as f64 / 1000.0, min.milli_value(), max.milli_value())
    } else {
        (ratio.value() as f64, min.value(), max.value())
    };
    let possible = high as f64 / low as f64;
    if wanted > possible {
        errors.invalid(path, ratio.to_string(), format!("ratio {ratio} is greater than max/min = {possible:.6}"));
    }
}

fn list(item: &Value, field: &str, ty: &str, path: &Path<'_>, errors: &mut Errors) -> List {
    let path = path.child(field);
    let mut list = List::new();
    for (name, quantity) in sorted(&item[field]) {
        let path = path.key(name);
        if matches!(ty, "Pod" | "Container") {
            resource_names::validate_of_container(name, &path, errors);
        } else {
            resource_names::validate(name, &path, errors);
        }
        match Quantity::from_value(quantity) {
            Ok(quantity) => {
                list.insert(name.to_owned(), quantity);
            }
            Err(error) => errors.push(ErrorType::Invalid, &path, quantity.clone(), error.to_string()),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn wrong(limits: Value) -> String {
        let object = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": limits}});
        crate::kind("", "LimitRange").validate_create(&object).message()
    }

    fn one(item: Value) -> String {
        wrong(json!([item]))
    }

    /// `TestValidateLimitRange`.
    #[test]
    fn limits_fit_each_other() {
        assert_eq!(
            one(
                json!({"type": "Container", "max": {"cpu": "100m"}, "min": {"cpu": "5m"}, "default": {"cpu": "50m"}, "defaultRequest": {"cpu": "10m"}, "maxLimitRequestRatio": {"cpu": "20"}})
            ),
            "[]"
        );
        assert_eq!(
            one(json!({"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}, "min": {"storage": "5Gi"}})),
            "[]"
        );
        assert_eq!(wrong(json!([{"type": "Pod"}, {"type": "Pod"}])), "spec.limits[1].type: Duplicate value: \"Pod\"");
        assert_eq!(
            one(json!({"type": "Pod", "default": {"cpu": "1"}})),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"
        );
        assert_eq!(
            one(json!({"type": "Pod", "max": {"cpu": "10m"}, "min": {"cpu": "11m"}})),
            "spec.limits[0].min[cpu]: Invalid value: \"11m\": min value 11m is greater than max value 10m"
        );
        assert!(one(json!({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}})).contains("default request value 2 is greater than max value 1"));
        assert!(one(json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}})).contains("default value 2 is greater than max value 1"));
        assert!(
            one(json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "800m"}})).contains("ratio 800m is less than 1")
        );
        assert!(one(json!({"type": "Pod", "max": {"memory": "2Gi"}, "min": {"memory": "1Gi"}, "maxLimitRequestRatio": {"memory": "10"}})).contains("ratio 10 is greater than max/min = 2.000000"));
        assert!(one(json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}})).contains("must equal to defaultRequest value 1 in example.com/gpu"));
        assert!(
            one(json!({"type": "PersistentVolumeClaim"}))
                .contains("either minimum or maximum storage value is required")
        );
        assert!(one(json!({"type": "odd"})).contains("must be a standard limit type or fully qualified"));
    }
}
