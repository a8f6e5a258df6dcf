use super::*;
use serde_json::json;

#[test]
fn good_selectors_parse_and_print() {
    for (written, printed) in [
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("", ""),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x=", "x="),
        ("x= ", "x="),
        ("x=,z= ", "x=,z="),
        ("x= ,z= ", "x=,z="),
        ("!x", "!x"),
        ("x>1", "x>1"),
        ("x>1,z<5", "x>1,z<5"),
        ("x in (a,b), y", "x in (a,b),y"),
        ("z notin (b,a)", "z notin (a,b)"),
        ("x in ()", "x in ()"),
        ("x in (,a)", "x in (,a)"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("b==1,a", "a,b==1"),
    ] {
        assert_eq!(LabelSelector::parse(written).unwrap().to_string(), printed, "{written}");
    }
}

#[test]
fn bad_selectors_say_what_was_found() {
    for (written, message) in [
        ("x=a||y=b", "unable to parse requirement: values[0][x]: Invalid value: \"a||y\""),
        ("x==a==b", "found '==', expected: ',' or 'end of string'"),
        ("!x=a", "found '=', expected: ',' or 'end of string'"),
        (
            "x<a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
    ] {
        let error = LabelSelector::parse(written).unwrap_err().to_string();
        assert!(error.starts_with(message), "{written}: {error}");
    }
}

#[test]
fn matching_follows_the_operators() {
    let labels = json!({"x": "foo", "y": "baz", "n": "5"});
    for selector in
        ["", "x=foo", "x==foo,y=baz", "x in (foo,bar)", "x!=bar", "z!=a", "z notin (a)", "x", "!z", "n>4", "n<6"]
    {
        assert!(LabelSelector::parse(selector).unwrap().matches(&labels), "{selector}");
    }
    for selector in ["x=bar", "z=foo", "x notin (foo)", "!x", "z", "n>5", "x>1", "z in (foo)"] {
        assert!(!LabelSelector::parse(selector).unwrap().matches(&labels), "{selector}");
    }
    assert!(LabelSelector::everything().matches(&Value::Null));
    assert!(!LabelSelector::nothing().matches(&labels));
}

#[test]
fn selector_objects_become_selectors() {
    let selector = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["z", "y"]}]});
    assert_eq!(LabelSelector::from_object(&selector).unwrap().to_string(), "a=1,b=2,c notin (y,z)");
    assert!(LabelSelector::from_object(&json!({})).unwrap().is_empty());
    assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&json!({})));
    assert_eq!(format_selector(&json!({})), "<none>");
    assert_eq!(format_labels(&json!({"b": "2", "a": "1"})), "a=1,b=2");
}

#[test]
fn malformed_selector_objects_are_reported_where_they_are() {
    let mut errors = Errors::default();
    let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
        {"key": "k", "operator": "In"}, {"key": "k", "operator": "Exists", "values": ["v"]}, {"key": "k", "operator": "Foo"}]});
    validate_selector(&selector, &Path::new("spec.selector"), &mut errors);
    assert_eq!(
        errors.message(),
        "[spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn', \
         spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist', \
         spec.selector.matchExpressions[2].operator: Invalid value: \"Foo\": not a valid selector operator]"
    );
}
