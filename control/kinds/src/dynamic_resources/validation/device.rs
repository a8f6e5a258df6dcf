//! What a device of a ResourceSlice is made of: attributes, capacities and what may be asked of them, counters, conditions of its
//! binding (`validateDevice`).
use super::set;
use crate::field::{Errors, Path};
use crate::names::dns1123_label;
use crate::quantity::{Format, Quantity};
use crate::value::{entries, flag, is_empty, items, text};
use serde_json::Value;

const VALUES_MAX: usize = 32;
const VALUE_LENGTH: usize = 64;
const ID_LENGTH: usize = 32;
const COUNTERS_MAX: usize = 32;
const CONSUMED_MAX: usize = 2;
const CONDITIONS_MAX: usize = 4;
const OPTIONS_MAX: usize = 10;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Whether a device has what fewer devices of a slice may have.
pub(super) fn is_advanced(device: &Value) -> bool {
    let listed = |(_, attribute): (&str, &Value)| LISTS.iter().any(|list| !attribute[*list].is_null());
    ["taints", "consumesCounters"].iter().any(|list| !is_empty(&device[*list]))
        || entries(&device["attributes"]).any(listed)
}

/// Attributes, capacities and consumed counters.
pub(super) fn validate(device: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (attributes, capacities) = (&device["attributes"], &device["capacity"]);
    let count = entries(attributes).count() + entries(capacities).count();
    if count > VALUES_MAX {
        let detail = format!("the total number of attributes and capacities must not exceed {VALUES_MAX}");
        errors.invalid(path, count, detail);
    }
    let (list, place) = (path.child("attributes"), path.child("capacity"));
    for (name, value) in entries(attributes) {
        qualified_name(name, &list.key(name), errors);
        attribute(value, &list.key(name), errors);
    }
    for (name, capacity) in entries(capacities) {
        let path = place.key(name);
        qualified_name(name, &path, errors);
        let (policy, at) = (&capacity["requestPolicy"], path.child("requestPolicy"));
        match (policy.is_object(), flag(&device["allowMultipleAllocations"])) {
            (false, _) => {}
            (true, false) => errors.forbidden(&at, "allowMultipleAllocations must be true"),
            (true, true) => request_policy(policy, &quantity(&capacity["value"]), &at, errors),
        }
    }
    let key = |consumed: &Value| text(&consumed["counterSet"]).to_owned();
    let list = path.child("consumesCounters");
    set(&device["consumesCounters"], CONSUMED_MAX, &list, errors, key, |consumed, path, errors| {
        counter_name(text(&consumed["counterSet"]), &path.child("counterSet"), errors);
        counters(&consumed["counters"], &path.child("counters"), errors);
    });
}

/// Conditions that hold a pod up until they are true, or end the attempt.
pub(super) fn binding(device: &Value, path: &Path<'_>, errors: &mut Errors) {
    let [wanted, unwanted] = ["bindingConditions", "bindingFailureConditions"].map(|list| &device[list]);
    let mut judge = |list: &Value, member: &str| {
        let path = path.child(member);
        set(
            list,
            CONDITIONS_MAX,
            &path,
            errors,
            |name| text(name).to_owned(),
            |name, path, errors| {
                let name = text(name);
                errors.invalid_each(path, name, crate::names::qualified_name(name));
            },
        );
    };
    judge(wanted, "bindingConditions");
    judge(unwanted, "bindingFailureConditions");
    for (index, name) in items(unwanted).iter().enumerate() {
        if items(wanted).contains(name) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            errors.invalid(&path.child("bindingFailureConditions").index(index), text(name), detail);
        }
    }
    if is_empty(wanted) && !is_empty(unwanted) {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        errors.invalid(&path.child("bindingConditions"), wanted.clone(), detail);
    }
    if !is_empty(wanted) && is_empty(unwanted) {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        errors.invalid(&path.child("bindingFailureConditions"), unwanted.clone(), detail);
    }
}

/// A set of counters that devices share.
pub(super) fn counter_set(counter_set: &Value, path: &Path<'_>, errors: &mut Errors) {
    counter_name(text(&counter_set["name"]), &path.child("name"), errors);
    counters(&counter_set["counters"], &path.child("counters"), errors);
}

fn counter_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    match name {
        "" => errors.required(path, ""),
        name => errors.invalid_each(path, name, dns1123_label(name)),
    }
}

fn counters(counters: &Value, path: &Path<'_>, errors: &mut Errors) {
    let count = entries(counters).count();
    if count == 0 {
        return errors.required(path, "");
    }
    if count > COUNTERS_MAX {
        errors.too_many(path, count, COUNTERS_MAX);
    }
    for (name, _) in entries(counters) {
        errors.invalid_each(path, name, dns1123_label(name));
    }
}

fn attribute(attribute: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = attribute["string"].as_str() {
        short(value, &path.child("string"), errors);
    }
    if let Some(value) = attribute["version"].as_str() {
        version(value, &path.child("version"), errors);
    }
    for list in LISTS {
        let (values, path) = (&attribute[list], path.child(list));
        if values.as_array().is_some_and(Vec::is_empty) {
            errors.invalid(&path, values.clone(), "must not be empty if specified");
        }
        for (index, value) in items(values).iter().enumerate() {
            match list {
                "strings" => short(text(value), &path.index(index), errors),
                "versions" => version(text(value), &path.index(index), errors),
                _ => {}
            }
        }
    }
    let members = ["bool", "int", "string", "version"].into_iter().chain(LISTS);
    match members.filter(|member| !attribute[*member].is_null()).count() {
        0 => errors.invalid(path, "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(path, attribute.clone(), "exactly one value must be specified"),
    }
}

fn short(value: &str, path: &Path<'_>, errors: &mut Errors) {
    if value.len() > VALUE_LENGTH {
        errors.too_long(path, VALUE_LENGTH);
    }
}

fn version(value: &str, path: &Path<'_>, errors: &mut Errors) {
    if !is_semantic_version(value) {
        errors.invalid(path, value, "must be a string compatible with semver.org spec 2.0.0");
    }
    short(value, path, errors);
}

fn is_semantic_version(value: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let (rest, build) = value.split_once('+').map_or((value, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let core: Vec<&str> = core.split('.').collect();
    core.len() == 3
        && core.into_iter().all(number)
        && before.is_none_or(|before| before.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn quantity(value: &Value) -> Quantity {
    Quantity::from_value(value).unwrap_or(Quantity::new(0, Format::DecimalSI))
}

/// What may be asked of a capacity that several may have a part of.
fn request_policy(policy: &Value, capacity: &Quantity, path: &Path<'_>, errors: &mut Errors) {
    let (values, range) = (items(&policy["validValues"]), &policy["validRange"]);
    if !values.is_empty() && range.is_object() {
        let detail =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        return errors.forbidden(path, detail);
    }
    let which = match (values.is_empty(), range.is_object()) {
        (true, false) => return,
        (true, true) => "validRange",
        _ => "validValues",
    };
    if policy["default"].is_null() {
        return errors.required(&path.child("default"), format!("required when {which} is defined"));
    }
    let default = quantity(&policy["default"]);
    match which {
        "validRange" => valid_range(range, &default, capacity, &path.child(which), errors),
        _ => valid_values(&policy["validValues"], &default, capacity, &path.child(which), errors),
    }
}

fn valid_values(list: &Value, default: &Quantity, capacity: &Quantity, path: &Path<'_>, errors: &mut Errors) {
    let values: Vec<Quantity> = items(list).iter().map(quantity).collect();
    for (index, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        errors.invalid(&path.index(index + 1), pair[1].to_string(), "values must be sorted in ascending order");
    }
    set(
        list,
        OPTIONS_MAX,
        path,
        errors,
        |value| quantity(value).to_string(),
        |value, path, errors| {
            let value = quantity(value);
            if value > *capacity {
                let detail = format!("option is larger than capacity value: {capacity}");
                errors.invalid(path, value.to_string(), detail);
            }
        },
    );
    if !values.contains(default) {
        errors.invalid(path, default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn valid_range(range: &Value, default: &Quantity, capacity: &Quantity, path: &Path<'_>, errors: &mut Errors) {
    let of = |member: &str| (!range[member].is_null()).then(|| quantity(&range[member]));
    let at = path.child("min");
    let Some(min) = of("min") else { return errors.required(&at, "required when validRange is defined") };
    if min > *capacity {
        errors.invalid(&at, min.to_string(), format!("min is larger than capacity value: {capacity}"));
    }
    if *default < min {
        errors.invalid(&at, default.to_string(), format!("default is less than min: {min}"));
    }
    if let Some(max) = of("max") {
        let at = path.child("max");
        if min > max {
            errors.invalid(&at, min.to_string(), format!("min is larger than max: {max}"));
        }
        if max > *capacity {
            errors.invalid(&at, max.to_string(), format!("max is larger than capacity value: {capacity}"));
        }
        if *default > max {
            errors.invalid(&at, default.to_string(), format!("default is more than max: {max}"));
        }
    }
    let Some(step) = of("step") else { return };
    let (at, mut first) = (path.child("step"), min.clone());
    first.add(&step);
    if first > *capacity {
        let detail = format!("one step {first} is larger than capacity value: {capacity}");
        errors.invalid(&at, step.to_string(), detail);
    }
    for value in [Some(default.clone()), of("max")].into_iter().flatten() {
        let added = value.value().checked_sub(min.value());
        if added.and_then(|added| added.checked_rem(step.value())) != Some(0) {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.invalid(&at, value.to_string(), detail);
        }
    }
}

/// `name` or `domain/name`.
pub(super) fn qualified_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [name] => identifier(name, path, errors),
        [domain, name] => {
            match *domain {
                "" => errors.invalid(path, "", "the domain must not be empty"),
                domain => super::driver(domain, path, errors),
            }
            match *name {
                "" => errors.invalid(path, "", "the name must not be empty"),
                name => identifier(name, path, errors),
            }
        }
        _ => {}
    }
}

fn identifier(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.len() > ID_LENGTH {
        errors.too_long(path, ID_LENGTH);
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        const TEXT: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
        let detail = crate::names::regex_error(TEXT, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"]);
        errors.invalid(path, name, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(device: Value) -> String {
        let mut errors = Errors::default();
        validate(&device, &Path::new("device"), &mut errors);
        binding(&device, &Path::new("device"), &mut errors);
        errors.message()
    }

    // TestValidateResourceSlice
    #[test]
    fn an_attribute_has_one_value_of_its_kind() {
        let good = json!({"a": {"string": "s"}, "d.example.com/v": {"version": "1.2.3-rc.1+b"}, "i": {"int": 0}, "b": {"bool": false}});
        assert_eq!(said(json!({"attributes": good})), "[]");
        for (attribute, message) in [
            (json!({}), "device.attributes[a]: Invalid value: \"\": exactly one value must be specified"),
            (
                json!({"version": "1.2"}),
                "device.attributes[a].version: Invalid value: \"1.2\": must be a string compatible with semver.org spec 2.0.0",
            ),
            (json!({"string": "x".repeat(65)}), "device.attributes[a].string: Too long: may not be more than 64 bytes"),
        ] {
            assert_eq!(said(json!({"attributes": {"a": attribute}})), message);
        }
        assert!(said(json!({"attributes": {"a-b": {"int": 1}}})).contains("a valid C identifier"));
        for version in ["01.0.0", "1.0.0-01", "1.0", "v1.0.0", "1.0.0+"] {
            assert!(!is_semantic_version(version), "{version}");
        }
    }

    #[test]
    fn what_may_be_asked_of_a_capacity_fits_in_it() {
        let device = |policy: Value| json!({"allowMultipleAllocations": true, "capacity": {"m": {"value": "4Gi", "requestPolicy": policy}}});
        assert_eq!(said(device(json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "4Gi"}}))), "[]");
        let path = "device.capacity[m].requestPolicy";
        assert_eq!(
            said(device(json!({"validValues": ["1Gi"]}))),
            format!("{path}.default: Required value: required when validValues is defined")
        );
        assert_eq!(
            said(device(json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi"}}))),
            format!("{path}.validRange.max: Invalid value: \"8Gi\": max is larger than capacity value: 4Gi")
        );
        assert_eq!(
            said(json!({"capacity": {"m": {"value": "4Gi", "requestPolicy": {}}}})),
            format!("{path}: Forbidden: allowMultipleAllocations must be true")
        );
    }

    #[test]
    fn counters_have_names() {
        assert_eq!(
            said(json!({"consumesCounters": [{"counters": {}}]})),
            "[device.consumesCounters[0].counterSet: Required value, device.consumesCounters[0].counters: Required value]"
        );
    }
}
