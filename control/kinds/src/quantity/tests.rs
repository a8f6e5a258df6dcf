use super::*;

fn canonical(text: &str) -> String {
    text.parse::<Quantity>().unwrap().to_string()
}

#[test]
fn canonical_forms_are_kubernetes() {
    for (written, printed) in [
        ("0", "0"),
        ("0n", "0"),
        ("0.0000001", "100n"),
        ("1", "1"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("10000k", "10M"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("0.5Ki", "512"),
        ("512Ki", "512Ki"),
        ("1025Ki", "1025Ki"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1E6", "1E6"),
        ("100E", "100E"),
        ("-1", "-1"),
        ("-1000m", "-1"),
        ("-0.5", "-500m"),
        ("1.n", "1.n"),
        ("9Ei", "9223372036854775807"),
        ("0.1Ki", "102400m"),
        ("0.0001Ki", "102400u"),
        (".001", "1m"),
        ("1.00e4", "10e3"),
        ("0000001234", "0000001234"),
        ("0.0000000001", "1n"),
    ] {
        assert_eq!(canonical(written), printed, "{written}");
    }
}

#[test]
fn what_is_no_quantity_says_why() {
    for text in ["", "a", "1.1.M", "1+1.0M", "0.1mi.", "0.1am", "aoeu", ".5i.", "1i5", "--1", "12 34", "\u{221e}"] {
        assert!(text.parse::<Quantity>().is_err(), "{text}");
    }
    assert_eq!("1mi".parse::<Quantity>().unwrap_err(), QuantityError::Suffix);
    assert_eq!("1i".parse::<Quantity>().unwrap_err(), QuantityError::Suffix);
    assert_eq!("1Mi1".parse::<Quantity>().unwrap_err(), QuantityError::Suffix);
    assert_eq!("x".parse::<Quantity>().unwrap_err(), QuantityError::Format);
}

#[test]
fn values_round_up_and_compare_across_families() {
    let q = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(q("1500m").value(), 2);
    assert_eq!(q("0.0001").milli_value(), 1);
    assert_eq!(q("-1500m").value(), -2);
    assert!(q("1Gi") > q("1G"));
    assert_eq!(q("1Ki"), q("1024"));
    let mut tiny = q("1u");
    tiny.round_up_to_milli();
    assert_eq!(tiny.to_string(), "1m");
}

#[test]
fn sums_take_the_family_of_what_is_not_zero() {
    let mut sum = Quantity::zero(Format::DecimalSI);
    sum.add(&"512Mi".parse().unwrap());
    sum.add(&"512Mi".parse().unwrap());
    assert_eq!(sum.to_string(), "1Gi");
    sum.sub(&"1Mi".parse().unwrap());
    assert_eq!(sum.to_string(), "1023Mi");
}
