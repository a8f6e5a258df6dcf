use super::*;

#[test]
fn labels_and_subdomains_follow_rfc_1123() {
    for good in ["a", "ab", "abc", "a1", "a-1", "a--1--2--b", "0", "01", "012", "1a", "1-a", "1--a--b--2"] {
        assert_eq!(dns1123_label(good), Vec::<String>::new(), "{good}");
        assert_eq!(dns1123_subdomain(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["", "A", "ABC", "aBc", "A1", "A-1", "1-A", "-", "a-", "-a", "1-", "-1", "_", "a_", "_a", "a b", " a"] {
        assert_ne!(dns1123_label(bad), Vec::<String>::new(), "{bad}");
        assert_ne!(dns1123_subdomain(bad), Vec::<String>::new(), "{bad}");
    }
    for dotted in ["a.a", "ab.a", "0.0", "a.b.c-d", "aa-a.1"] {
        assert_eq!(dns1123_subdomain(dotted), Vec::<String>::new());
        assert_eq!(dns1123_label(dotted), ["must not contain dots"]);
    }
    assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
}

#[test]
fn messages_quote_the_regular_expression() {
    assert_eq!(
        dns1123_subdomain("Foo"),
        [
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        dns1035_label("1a"),
        [
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
}

#[test]
fn qualified_names_have_an_optional_prefix() {
    for good in [
        "simple",
        "now-with-dashes",
        "1-starts-with-num",
        "1234",
        "simple/simple",
        "now_with_underscores",
        "Uppercase_Is_OK_123",
        "example.com/Uppercase_Is_OK_123",
        "requests.storage-foo",
    ] {
        assert_eq!(qualified_name(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "nospecialchars%^=@",
        "cantendwithadash-",
        "-cantstartwithadash-",
        "only/one/slash",
        "Example.com/simple",
        "example_com/simple",
        "/simple",
        "a/",
    ] {
        assert_ne!(qualified_name(bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn port_names_are_iana_service_names() {
    for good in ["telnet", "re-mail-ck", "pop3", "a", "a-1", "1-a", "a-1-b-2-c", "1-a-2-b-3"] {
        assert_eq!(port_name(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["longerthan15characters", "", "12345", "1-2-3-4", "-begin", "end-", "two--hyphens", "whois++"] {
        assert_ne!(port_name(bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn a_generated_name_may_end_in_a_dash() {
    assert_eq!(NameRule::Subdomain.check("web-", true), Vec::<String>::new());
    assert_ne!(NameRule::Subdomain.check("web-", false), Vec::<String>::new());
    assert_ne!(NameRule::Subdomain.check("-", true), Vec::<String>::new());
    assert_eq!(NameRule::PathSegment.check("system:node", false), Vec::<String>::new());
    assert_eq!(NameRule::PathSegment.check("a/b", false), ["may not contain '/'"]);
}

#[test]
fn keys_of_config_maps_do_not_climb() {
    for bad in ["", ".", "..", "..bad", "b*d", "bad!&bad"] {
        assert_ne!(config_map_key(bad), Vec::<String>::new(), "{bad}");
    }
    for good in
        ["a", "good", "good-good", "still.good", "this.is.also.good", ".so.is.this", "THIS_IS_GOOD", "so_is_this_17"]
    {
        assert_eq!(config_map_key(good), Vec::<String>::new(), "{good}");
    }
}
