//! Tables named after k8s.io/apiserver/pkg/cel/library/*_test.go and apiextensions' cel/validation_test.go.
use serde_json::json;

use crate::program::{Environment, PER_CALL_LIMIT};
use crate::types::Type;
use crate::value::{EvalError, Value};

fn run(source: &str) -> Result<String, String> {
    let program = Environment::new(&()).with("x", Type::Dyn).compile(source).map_err(|e| e.to_string())?;
    let object = json!({"a": 1, "s": "text", "l": [3, 1, 2], "m": {"k": "v"}, "n": null});
    let variables: &[(&str, Value)] = &[("x", Value::from_json(&object))];
    let (result, _) = program.evaluate(&Vars(variables), PER_CALL_LIMIT);
    result.map(|v| crate::library::strings::show(&v)).map_err(|e| e.to_string())
}

struct Vars<'v, 'a>(&'v [(&'static str, Value<'a>)]);
impl<'a> crate::Variables<'a> for Vars<'_, 'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        crate::Variables::get(self.0, name)
    }
}

#[track_caller]
fn all_true(table: &[&str]) {
    for source in table {
        assert_eq!(run(source), Ok("true".to_owned()), "{source}");
    }
}

#[test]
fn the_language() {
    all_true(&[
        "1 + 2 * 3 == 7 && -2 < 1 && 7 / 2 == 3 && -7 % 3 == -1",
        "dyn(1) == 1.0 && dyn(1u) == 1 && 2 > 1.5 && [dyn(1), 2] == [dyn(1.0), 2u]",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && r'\\n'.size() == 2 && '\\u00e9' == 'é'",
        "x.a == 1 && x.m.k == 'v' && x['s'] == 'text' && x.l[0] == 3 && has(x.m.k) && !has(x.m.z)",
        "(true ? 1 : 2) == 1 && !(false || false)",
        "false && 1 / 0 == 1 || true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "{'a': 1, 'b': 2}.all(k, k != 'c') && {'a': 1}['a'] == 1 && 'a' in {'a': 1} && 2 in [1, 2]",
        "[1, 2, 3].map(i, i * 2) == [2, 4, 6] && [1, 2, 3].filter(i, i > 1) == [2, 3] && [1, 2].map(i, i > 1, i) == [2]",
        "[1, 2].exists(i, i == 2) && [1, 2, 2].exists_one(i, i == 1) && [0, 1].exists(i, 1 / i == 1)",
        "[3, 4].all(i, v, v == i + 3) && {'a': 1}.exists(k, v, v == 1) && [1, 2].transformList(i, v, i + v) == [1, 3]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2} && [1, 2].transformMapEntry(i, v, {v: i}) == {1: 0, 2: 1}",
        "type(1) == int && type('a') == string && type([]) == list && string(1) == '1' && int('7') == 7 && double(1) == 1.0",
        "duration('1h30m').getMinutes() == 90 && duration('1s') < duration('2s') && string(duration('90s')) == '90s'",
        "timestamp('2011-10-05T14:48:00Z').getFullYear() == 2011 && timestamp('2011-10-05T14:48:00Z').getMonth() == 9",
        "timestamp('2011-10-05T14:48:00Z') + duration('1h') == timestamp('2011-10-05T15:48:00Z')",
    ]);
}

#[test]
fn optional_values() {
    all_true(&[
        "x.?a.hasValue() && !x.?zz.hasValue() && x.?zz.orValue(5) == 5 && x.?m.?k.value() == 'v' && x.?zz.?k.orValue('d') == 'd'",
        "optional.of(1).optMap(v, v + 1).value() == 2 && !optional.none().hasValue() && x[?'zz'].orValue(1) == 1",
        "[1, ?optional.none(), ?optional.of(2)] == [1, 2] && {?'a': optional.none()} == {} && [1][?3].orValue(0) == 0",
        "optional.of(1).optFlatMap(v, optional.of(v + 1)).value() == 2 && optional.none().or(optional.of(2)).value() == 2",
    ]);
}

#[test]
fn strings_and_format() {
    all_true(&[
        "'hello'.charAt(1) == 'e' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3 && 'Hi'.lowerAscii() == 'hi'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && '  x '.trim() == 'x' && 'aaa'.replace('a', 'b', 2) == 'bba'",
        "'%s is %d, %.2f, %x, %b, %e'.format([dyn('a'), 1, 1.234, 255, 5, 1234.5]) == 'a is 1, 1.23, ff, 101, 1.234500e+03'",
        "'%s'.format([[dyn(1), 'a']]) == '[1, a]' && '%s'.format([{'k': true}]) == '{k: true}' && '%%'.format([]) == '%'",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"' && 'héllo'.size() == 5 && 'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')",
    ]);
    assert_eq!(run("'ab'.substring(3)"), Err("index out of range: 3".into()));
}

#[test]
fn lists_test() {
    all_true(&[
        "[1, 2, 3].isSorted() && !['b', 'a'].isSorted() && [1, 3].sum() == 4 && [].sum() == 0 && [1.5, 2.0].sum() == 3.5",
        "[1, 3].min() == 1 && [1, 3].max() == 3 && ['a', 'b', 'b'].indexOf('b') == 1 && ['a', 'b', 'b'].lastIndexOf('b') == 2 && [1].indexOf(2) == -1",
        "[1, 2, 3].slice(1, 3) == [2, 3] && [[1], [2, 3]].flatten() == [1, 2, 3] && [3, 1].sort() == [1, 3] && [1, 1, 2].distinct() == [1, 2]",
        "lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1] && ['bb', 'a'].sortBy(s, s.size()) == ['a', 'bb'] && [1].first().value() == 1",
        "sets.contains([1, 2, 3], [2, 3]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2]) && !sets.intersects([1], [2])",
    ]);
    assert_eq!(run("[].min()"), Err("min called on empty list".into()));
}

#[test]
fn regex_url_ip_cidr_quantity_semver_format() {
    all_true(&[
        "'abc 123'.find('[0-9]+') == '123' && '1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 2).size() == 2 && 'ab'.matches('^a')",
        "url('https://user@example.com:80/path?k=a&k=b').getHost() == 'example.com:80' && url('https://[::1]:80/').getHostname() == '::1'",
        "url('https://e.com/a b').getEscapedPath() == '/a%20b' && url('https://e.com/?k=a&k=b').getQuery()['k'] == ['a', 'b'] && isURL('/path') && !isURL('../x')",
        "ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && isIP('1.2.3.4') && !isIP('1.2.3.400') && !isIP('::ffff:1.2.3.4') && ip.isCanonical('::1')",
        "cidr('192.168.0.0/16').containsIP('192.168.1.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "cidr('10.0.0.0/8').prefixLength() == 8 && cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && string(ip('::1')) == '::1'",
        "quantity('1Gi').isGreaterThan(quantity('1M')) && quantity('50k').add(20).sub(quantity('20')) == quantity('50k') && isQuantity('1.3Gi') && !isQuantity('1,3G')",
        "quantity('1k').asInteger() == 1000 && !quantity('1m').isInteger() && quantity('1m').asApproximateFloat() == 0.001 && sign(quantity('-1')) == -1",
        "semver('1.2.3').major() == 1 && semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.0', true) && !isSemver('v1.0.0') && semver('v01.1', true) == semver('1.1.0')",
        "!format.dns1123Label().validate('my-label').hasValue() && format.dns1123Label().validate('My_label').value().size() == 1 && format.named('uuid').hasValue()",
    ]);
}

#[test]
fn errors_are_told_as_cel_go_tells_them() {
    for (source, wanted) in [
        ("foo.bar", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo.bar\n | ^"),
        (
            "1 > '1'",
            "ERROR: <input>:1:3: found no matching overload for '_>_' applied to '(int, string)'\n | 1 > '1'\n | ..^",
        ),
        ("'a' + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("'a'.contains(1)", "ERROR: <input>:1:13: found no matching overload for 'contains' applied to 'string.(int)'"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("'a'.matches(')')", "ERROR: <input>:1:13: invalid matches argument"),
        ("duration('1')", "ERROR: <input>:1:10: invalid duration argument"),
        ("timestamp('1000-00-00T00:00:00Z')", "ERROR: <input>:1:11: invalid timestamp"),
        ("'asdf'.contains('x'", "Syntax error: missing ')' at"),
        ("1 +", "Syntax error: mismatched input '<EOF>' expecting"),
        (
            "1.all(y, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("x.all(1, true)", "argument must be a simple name"),
        ("a.b() && 1", "expected type 'bool' but found 'int'"),
    ] {
        let told = run(source).expect_err(source);
        assert!(told.contains(wanted), "{source}:\n{told}");
    }
}

#[test]
fn failures_while_evaluating() {
    for (source, wanted) in [
        ("x.zz == 1", "no such key: zz"),
        ("x.l[7] == 1", "index out of bounds: 7"),
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("x.s + 1 == 2", "no such overload"),
        ("dyn('a') < 1", "no such overload"),
        ("quantity('x').isInteger()", "quantities must match the regular expression"),
        ("optional.none().value() == 1", "optional.none() dereference"),
    ] {
        let told = run(source).expect_err(source);
        assert!(told.contains(wanted), "{source}: {told}");
    }
}

#[test]
fn hostile_expressions_end_in_bounded_time_and_stack() {
    let list: String = format!("[{}]", vec!["1"; 400].join(","));
    let within = |f: &dyn Fn()| {
        let start = std::time::Instant::now();
        f();
        assert!(start.elapsed() < std::time::Duration::from_secs(8), "{:?}", start.elapsed());
    };
    within(&|| assert!(run(&format!("{}1{}", "(".repeat(5000), ")".repeat(5000))).is_err()));
    within(&|| assert!(run(&format!("{}1{}", "[".repeat(240), "]".repeat(240))).is_ok()));
    within(&|| assert!(run(&format!("1{}", "+1".repeat(20_000))).is_err()));
    within(&|| assert!(run(&format!("true{}", "&&true".repeat(10_000))).is_ok()));
    within(&|| assert!(run(&format!("x{}", ".optMap(a, a)".repeat(200))).is_err()));
    within(&|| assert!(run(&format!("{}true", "!".repeat(90_000))).is_ok()));
    within(&|| assert!(run(&"[".repeat(90_000)).is_err()));
    within(&|| assert!(run(&vec!["[]"; 30_000].join(",").replacen("[]", "[[]", 1)).is_err()));
    within(&|| assert!(run(&format!("[{}]", vec!["[]"; 30_000].join(","))).is_ok()));
    let nested = format!("{list}.all(a, {list}.all(b, {list}.all(c, a == b)))");
    within(&|| assert_eq!(run(&nested), Err(EvalError::CostLimit.to_string())));
    within(&|| assert_eq!(run("lists.range(9000000000).size() == 1"), Err(EvalError::CostLimit.to_string())));
    within(&|| assert!(run("'a'.matches('(a{1000}){1000}')").is_err()));
    let mut deep = "true".to_owned();
    for n in 0..60 {
        deep = format!("[1].all(v{n}, {deep})");
    }
    within(&|| assert!(run(&deep).is_ok()));
}

/// From k8s.io/apiserver/pkg/cel/library/cost_test.go: expression, least and most estimated cost, cost when evaluated.
#[test]
fn costs_are_those_of_cost_test_go() {
    for (source, min, max, actual) in [
        ("[1, 2, 3, 4, 5].sum()", 15, 15, 15),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", 3, 3, 3),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 7, 9, 9),
        ("strings.quote('ABCDEFGHIJ abcdefghij')", 3, 3, 3),
        ("strings.quote('ABCDEFGHIJ abcdefghij') == strings.quote('ABCDEFGHIJ abcdefghij')", 7, 11, 9),
        ("'abc 123 def 123'.replace('123', '456')", 3, 3, 3),
        ("'abc 123 def 123'.split(' ')", 3, 3, 3),
        ("'abc 123 def 123'.substring(5)", 2, 2, 2),
        ("'abc 123 def 123'.find('123')", 2, 2, 2),
        ("quantity(\"12Mi\")", 1, 1, 1),
        ("quantity(\"200M\") == quantity(\"200M\")", 3, 3, 3),
        ("quantity(\"50k\").add(20).sub(quantity(\"100k\")).asInteger() > 0", 6, 6, 6),
        ("format.named(\"dns1123Subdomain\").value().validate(\"my-name\")", 34, 34, 17),
        ("format.named(\"dns1123Label\").value().validate(\"my-name\")", 34, 34, 10),
        ("sets.contains([], [])", 21, 21, 21),
        ("sets.contains([1], [1])", 22, 22, 22),
        ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29, 29),
        ("!sets.contains([1], [1, 2])", 24, 24, 24),
        ("sets.equivalent([1], [1, 1])", 25, 25, 25),
        ("sets.intersects([1, 1], [1])", 23, 23, 23),
    ] {
        let program = Environment::new(&()).compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(program.cost(&[]), crate::cost::estimate::Span { min, max }, "{source}");
        assert_eq!(program.evaluate(&Vars(&[]), PER_CALL_LIMIT).1, actual, "{source}");
    }
}

/// Pieces of every library, spliced at random from a fixed seed: whatever comes out, nothing panics, and nothing costs more than
/// it may.
#[test]
fn spliced_expressions_never_panic() {
    const PIECES: &[&str] = &[
        "x",
        "x.a",
        "x.l",
        "x.s",
        "x.m",
        "x.?zz",
        "x[?'a']",
        "1",
        "-9223372036854775808",
        "9223372036854775807",
        "0",
        "1u",
        "18446744073709551615u",
        "1.5",
        "1e308",
        "-0.0",
        "'é🙂'",
        "''",
        "b'\\xff'",
        "null",
        "true",
        "[]",
        "{}",
        "[1, 2]",
        "{'a': 1}",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        ".",
        "+",
        "-",
        "*",
        "/",
        "%",
        "<",
        "==",
        "&&",
        "||",
        "!",
        "in",
        ".size()",
        ".map(i, i)",
        ".all(i, v, v == i)",
        ".filter(i, i > 1)",
        ".exists_one(i, i == 1)",
        ".optMap(v, v)",
        ".transformMapEntry(k, v, {v: k})",
        ".sortBy(e, e)",
        ".flatten(99)",
        ".slice(1, 0)",
        ".substring(-1, 9)",
        ".charAt(9)",
        ".indexOf('🙂', 1)",
        ".lastIndexOf('é', 0)",
        ".split('', -2)",
        ".replace('', 'x', -1)",
        ".join('-')",
        ".format([1, 'a'])",
        "'%.9f%x%e'",
        ".find('(')",
        ".findAll('.', -1)",
        "quantity('1Ei')",
        ".add(1)",
        ".asInteger()",
        "ip('::1')",
        "cidr('::/0')",
        ".masked()",
        ".containsIP('1.2.3.4')",
        "url('//a:b/%zz')",
        ".getPort()",
        "semver('v1', true)",
        "duration('-2562047h')",
        "duration(9223372036854775807)",
        "timestamp('9999-12-31T23:59:59Z')",
        "timestamp(-62135596800)",
        ".getHours('+99:99')",
        ".getMonth('Nowhere/X')",
        "int(",
        "string(",
        "double(",
        "dyn(",
        "lists.range(5)",
        "optional.none()",
        "optional.of(1)",
        ".orValue(2)",
        ".value()",
        "has(x.a)",
        "type(x)",
        "Object{a: 1}",
        "sets.contains([1], [2])",
        "format.uuid().validate('x')",
        ".reverse()",
        ".min()",
        ".sum()",
        ".last()",
    ];
    let object = json!({"a": 1, "s": "text", "l": [3, 1, 2], "m": {"k": "v"}, "n": null});
    let variables: &[(&str, Value)] = &[("x", Value::from_json(&object))];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut draw = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let mut evaluated = 0;
    for _ in 0..30_000 {
        let length = 1 + draw(6);
        let source: String = (0..length).map(|_| PIECES[draw(PIECES.len())]).collect();
        let Ok(program) = Environment::new(&()).with("x", Type::Dyn).compile(&source) else { continue };
        program.cost(&[]);
        let (_, cost) = program.evaluate(&Vars(variables), 20_000);
        assert!(cost <= 400_000, "{source} cost {cost}");
        evaluated += 1;
    }
    assert!(evaluated > 500, "only {evaluated} compiled");
}

/// What a rule costs on an object, and how long it takes.
fn measured(source: &str, schema: &serde_json::Value, object: &serde_json::Value) -> (Result<String, EvalError>, u64) {
    within(PER_CALL_LIMIT, source, schema, object)
}

fn within(
    limit: u64,
    source: &str,
    schema: &serde_json::Value,
    object: &serde_json::Value,
) -> (Result<String, EvalError>, u64) {
    let decl = crate::DeclType::from_schema(schema, false).unwrap();
    let fields = crate::decl::Declared::of(&decl);
    let program = Environment::new(&fields).with("self", decl.to_type()).compile(source).unwrap();
    let variables: &[(&str, Value)] = &[("self", Value::of(object, &decl).unwrap())];
    let begun = std::time::Instant::now();
    let (result, cost) = program.evaluate(&Vars(variables), limit);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{source} took {:?}", begun.elapsed());
    (result.map(|v| crate::library::strings::show(&v)), cost)
}

#[test]
fn sets_and_lists_by_key_are_equal_in_any_order_and_in_linear_time() {
    let numbers: Vec<i64> = (0..20_000).collect();
    let reversed: Vec<i64> = numbers.iter().rev().copied().collect();
    let list = |kind: &str, item: serde_json::Value| json!({"type": "array", "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["k"], "items": item});
    let both = |list: serde_json::Value| json!({"type": "object", "properties": {"a": list.clone(), "b": list}});
    let set = both(list("set", json!({"type": "integer"})));
    let object = json!({"a": numbers, "b": reversed});
    assert_eq!(measured("self.a == self.b", &set, &object).0, Ok("true".into()));
    assert_eq!(measured("(self.a + self.b).size() == 20000", &set, &object).0, Ok("true".into()));
    assert_eq!(measured("self.a == [1]", &set, &json!({"a": [1], "b": []})).0, Ok("true".into()));
    assert_eq!(measured("self.a == self.b", &set, &json!({"a": [1, 2], "b": [1, 3]})).0, Ok("false".into()));
    let keyed = |all: &[i64]| all.iter().map(|n| json!({"k": n, "v": {"x": n}})).collect::<Vec<_>>();
    let item = json!({"type": "object", "properties": {"k": {"type": "integer"}, "v": {"type": "object", "additionalProperties": {"type": "integer"}}}});
    let map = both(list("map", item));
    let object = json!({"a": keyed(&numbers[..10_000]), "b": keyed(&reversed[10_000..])});
    assert_eq!(
        measured("dyn(self.a) == dyn(self.b) && dyn(self.a) + dyn(self.b) == dyn(self.a)", &map, &object).0,
        Ok("true".into())
    );
    let change = json!({"a": [{"k": 1, "v": {}}, {"k": 2, "v": {}}], "b": [{"k": 2, "v": {"z": 1}}]});
    assert_eq!(measured("(dyn(self.a) + dyn(self.b))[1].v.z == 1", &map, &change).0, Ok("true".into()));
    assert_eq!(
        run("[dyn(1), 2.0, 1u, '1', dyn([1]), dyn([1.0]), dyn({'a': 1}), dyn({'a': 1u})].distinct().size()"),
        Ok("5".into())
    );
}

#[test]
fn what_costs_little_and_does_much_is_bounded_all_the_same() {
    let schema = json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "string"}}, "s": {"type": "string"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "o": {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}}});
    let texts: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let object = json!({"l": texts, "set": texts, "s": "a".repeat(100_000), "o": {"x": texts}});
    // Each step names what it has four times: in the end there are 4^16 elements, in a few lists.
    let doubled = format!("[[1]]{}", ".map(x, [x, x, x, x])".repeat(16));
    for source in [
        "lists.range(6000).map(i, self.set + self.set).size() > 0",
        "lists.range(6000).map(i, self.l + self.l).map(l, l.size()).sum() == 0",
        "lists.range(2000).map(i, self.l).flatten().size() > 0",
        "lists.range(6000).map(i, self.s.substring(0, 100).replace('a', self.s)).size() > 0",
        "lists.range(6000).map(i, '%s%s%s%s'.format([self.s, self.s, self.s, self.s])).size() > 0",
        "lists.range(6000).all(i, self.o.x == self.o.x)",
        "self.l.all(x, !'a'.matches('(\\\\pL{100}){9}' + x))",
        "self.l.join(self.s) == ''",
        &format!("{doubled} == {doubled}"),
        &format!("'%s'.format([{doubled}]) == ''"),
        &format!("[{doubled}, {doubled}].distinct().size() == 1"),
    ] {
        assert!(within(100_000, source, &schema, &object).0.is_err(), "{source}");
    }
    let sum = measured(&format!("(self.l{}).size() == 4000000", " + self.l".repeat(199)), &schema, &object);
    assert_eq!(sum.0, Err(EvalError::CostLimit), "a sum of very many is copied once in a while");
    let sum = measured("(self.l + self.l + self.l)[59999] == '19999'", &schema, &object);
    assert_eq!((sum.0, sum.1), (Ok("true".into()), 10), "a sum of few costs what it costs in Kubernetes");
}

#[test]
fn constants_are_expressions_in_gos_syntax() {
    all_true(&[
        r"'{a}'.matches('^{a}$') && !'١'.matches('^\\d$') && 'a]'.matches('^[]a]+$')",
        r"'a{,2}'.find('a{,2}') == 'a{,2}' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b22'.findAll('[0-9]+', 1) == ['1']",
        r"['a+', 'b+'].all(p, 'ab'.matches(p)) && !['('].exists(p, 'ab'.matches('[' + 'c]'))",
    ]);
    assert_eq!(run("'a'.matches('(' + '')"), Err("error parsing regexp: missing closing ): `(`".into()));
}

#[test]
fn lists_that_are_compared_with_themselves_are_priced_so() {
    let cost = |source: &str| Environment::new(&()).compile(source).unwrap().evaluate(&Vars(&[]), PER_CALL_LIMIT).1;
    assert_eq!(cost("[3, 1, 2].sort()"), 10 + 11 + 2 * 9);
    assert_eq!(cost("['b', 'a'].distinct()"), 10 + 11 + 8, "2.1 for each pair of texts");
    assert_eq!(cost("[1, 2, 3].reverse()"), 10 + 11 + 3);
    assert_eq!(cost("[1, 2, 3].slice(0, 1)"), 10 + 11 + 1);
    assert_eq!(cost("lists.range(5)"), 11 + 5);
}

#[test]
fn patches_are_a_language_of_mutating_policies_only() {
    struct Patches;
    impl crate::Fields for Patches {
        fn field(&self, _: &str, _: &str) -> Option<Type> {
            None
        }
        fn constructs(&self, object: &str) -> bool {
            object == "JSONPatch"
        }
    }
    let source = "jsonpatch.escapeKey('a/b')";
    let error = Environment::new(&()).compile(source).unwrap_err().to_string();
    assert!(error.starts_with("ERROR: <input>:1:1: undeclared reference to 'jsonpatch' (in container '')"), "{error}");
    assert!(Environment::new(&Patches).compile(source).is_ok());
}

#[test]
fn what_is_too_deep_is_told_without_a_place() {
    let error = |source: String| Environment::new(&()).compile(&source).unwrap_err().to_string();
    let brackets = error(format!("{}1{}", "(".repeat(300), ")".repeat(300)));
    assert_eq!(brackets, "ERROR: <input>:-1:0: expression recursion limit exceeded: 250");
    assert_eq!(error(vec!["1"; 300].join("+")), "ERROR: <input>:-1:0: max recursion depth exceeded");
}
