//! Tables, chains, rules, sets and elements as netlink messages: written into a transaction, read from dumps.

use std::collections::BTreeMap;

use orlop_plan::Plan;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::attr::{Attributes, Put};
use crate::element::{self, Bytes, Element};
use crate::expr::{self, Verdict};
use crate::layout::{Chain, Data, SetSpec, TABLE, datatype, length};
use crate::netlink::{Netlink, Transaction, flags, message};

/// `NFT_MSG_*`.
mod kind {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DEL_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const DEL_CHAIN: u16 = 5;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const DEL_RULE: u16 = 8;
    pub const NEW_SET: u16 = 9;
    pub const GET_SET: u16 = 10;
    pub const NEW_ELEMENT: u16 = 12;
    pub const GET_ELEMENT: u16 = 13;
    pub const DEL_ELEMENT: u16 = 14;
}

/// NFNL_SUBSYS_NFTABLES, shifted.
const NFTABLES: u16 = 10 << 8;
const LIST_ELEM: u16 = 1;
/// `NFTA_SET_EXPR`: what every element has.
const SET_EXPRESSION: u16 = 17;
const COUNTER: &str = "counter";
/// `NFTA_COUNTER_PACKETS`
const COUNTER_PACKETS: u16 = 2;
/// `NFTA_SET_ELEM_EXPR`
const ELEMENT_EXPRESSION: u16 = 7;
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
/// `NFT_DATA_VERDICT`
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// How many clients affinity remembers: the kernel needs a bound, and strangers fill the map.
const DYNAMIC_SIZE: u32 = 262_144;
/// Kubernetes' names are ASCII; the kernel takes 256 bytes of user data, nft a comment of 128.
const MAX_COMMENT: usize = 127;
/// A list of elements is one attribute, whose length has 16 bits.
const MAX_LIST: usize = 60_000;

/// Writes messages for one table into a transaction.
pub(crate) struct Writer<'a> {
    pub transaction: &'a mut Transaction,
    pub family: u8,
}

impl Writer<'_> {
    pub fn new_table(&mut self) {
        self.transaction.push(kind::NEW_TABLE, flags::CREATE, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_u32(2, 0);
        });
    }

    pub fn delete_table(&mut self) {
        self.transaction.push(kind::DEL_TABLE, 0, self.family, |o| o.put_str(1, TABLE));
    }

    pub fn new_set(&mut self, spec: &SetSpec, id: u32) {
        let family = self.family;
        self.transaction.push(kind::NEW_SET, flags::CREATE | flags::EXCL, family, |o| {
            o.put_str(1, TABLE);
            o.put_str(2, spec.name);
            o.put_u32(3, set_flags(spec));
            o.put_u32(4, datatype(spec.key, family));
            o.put_u32(5, length(spec.key, family));
            match spec.data {
                Data::None => {}
                Data::Value(fields) => {
                    o.put_u32(6, datatype(fields, family));
                    o.put_u32(7, length(fields, family));
                }
                Data::Verdict => {
                    o.put_u32(6, VERDICT_TYPE);
                    o.put_u32(7, 0);
                }
            }
            if spec.dynamic {
                o.nest(9, |o| o.put_u32(1, DYNAMIC_SIZE));
            }
            o.put_u32(10, id);
            if spec.counted {
                // Kernels before 5.7 count nothing.
                o.nest(SET_EXPRESSION, |o| o.put_str(1, COUNTER));
            }
        });
    }

    /// Creates an empty chain.
    pub fn new_chain(&mut self, chain: &Chain) {
        self.transaction.push(kind::NEW_CHAIN, flags::CREATE, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_str(3, &chain.name);
            if let Some(hook) = chain.hook {
                o.nest(4, |o| {
                    o.put_u32(1, hook.number);
                    o.put(2, &hook.priority.to_be_bytes());
                });
                o.put_u32(5, 1);
                o.put_str(7, "nat");
            }
        });
    }

    pub fn delete_chain(&mut self, name: &str) {
        self.transaction.push(kind::DEL_CHAIN, 0, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_str(3, name);
        });
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        self.transaction.push(kind::DEL_RULE, 0, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_str(2, name);
        });
    }

    /// Appends a chain's rules, each with its tag as the comment that `nft list` shows.
    pub fn add_rules(&mut self, chain: &Chain) {
        let family = self.family;
        for (rule, tag) in chain.rules.iter().zip(tags(chain, family)) {
            self.transaction.push(kind::NEW_RULE, flags::CREATE | flags::APPEND, family, |o| {
                o.put_str(1, TABLE);
                o.put_str(2, &chain.name);
                o.nest(4, |o| expr::put_all(o, rule, family));
                o.put(7, &comment(&tag));
            });
        }
    }

    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(kind::NEW_ELEMENT, flags::CREATE, set, elements, &|_| Extra::default());
    }

    /// Adds elements that count the packets which find them, in a map whose others need not.
    pub fn add_counted(&mut self, set: &str, elements: &[Element]) {
        let counted = |_: &Element| Extra { counted: true, ..Extra::default() };
        self.elements(kind::NEW_ELEMENT, flags::CREATE, set, elements, &counted);
    }

    /// Adds elements of `frontends` or `node-ports`, each with its Service port as the comment that `nft list` shows.
    pub fn add_frontends(&mut self, set: &str, elements: &[Element], plan: &Plan) {
        let family = self.family;
        let name = |element: &Element| {
            let target = element::frontend_of(&element.key, family).and_then(|frontend| plan.get(&frontend));
            Extra { user_data: target.map(|target| comment(&target.name.to_string())), counted: false }
        };
        self.elements(kind::NEW_ELEMENT, flags::CREATE, set, elements, &name);
    }

    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(kind::DEL_ELEMENT, 0, set, elements, &|_| Extra::default());
    }

    /// Removes every element of a set.
    pub fn flush_set(&mut self, set: &str) {
        self.transaction.push(kind::DEL_ELEMENT, 0, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_str(2, set);
        });
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element], extra: &dyn Fn(&Element) -> Extra) {
        let mut rest = elements;
        while !rest.is_empty() {
            self.transaction.push(kind, flags, self.family, |o| {
                o.put_str(1, TABLE);
                o.put_str(2, set);
                o.nest(3, |o| {
                    let start = o.len();
                    while let Some((element, after)) = rest.split_first() {
                        put_element(o, element, extra(element));
                        rest = after;
                        if o.len() - start > MAX_LIST {
                            break;
                        }
                    }
                });
            });
        }
    }

    /// Adds or removes the entry of a verdict map that leads to a chain.
    pub fn verdict(&mut self, add: bool, map: &str, key: Bytes, chain: &str) {
        let (kind, flags) = if add { (kind::NEW_ELEMENT, flags::CREATE) } else { (kind::DEL_ELEMENT, 0) };
        self.transaction.push(kind, flags, self.family, |o| {
            o.put_str(1, TABLE);
            o.put_str(2, map);
            o.nest(3, |o| {
                o.nest(LIST_ELEM, |o| {
                    o.nest(1, |o| o.put(1, key.as_slice()));
                    if add {
                        o.nest(2, |o| Verdict::Goto(chain.into()).put(o));
                    }
                });
            });
        });
    }
}

fn set_flags(spec: &SetSpec) -> u32 {
    let mut all = 0;
    if spec.data != Data::None {
        all |= SET_MAP;
    }
    if spec.interval {
        all |= SET_INTERVAL;
    }
    if spec.dynamic {
        all |= SET_TIMEOUT | SET_EVAL;
    }
    all
}

/// What an element carries beside key and value.
#[derive(Default)]
struct Extra {
    user_data: Option<Vec<u8>>,
    counted: bool,
}

fn put_element(out: &mut Vec<u8>, element: &Element, extra: Extra) {
    out.nest(LIST_ELEM, |o| {
        o.nest(1, |o| o.put(1, element.key.as_slice()));
        if !element.value.as_slice().is_empty() {
            o.nest(2, |o| o.put(1, element.value.as_slice()));
        }
        if element.end {
            o.put_u32(3, 1);
        }
        if let Some(data) = extra.user_data {
            o.put(6, &data);
        }
        if extra.counted {
            o.nest(ELEMENT_EXPRESSION, |o| o.put_str(1, COUNTER));
        }
    });
}

/// Identifies each rule of a chain by its place and content: rules cannot be edited, so equal tags are equal rules.
pub(crate) fn tags(chain: &Chain, family: u8) -> Vec<String> {
    let tag = |rule: &Vec<expr::Expr>| {
        let mut bytes = Vec::new();
        expr::put_all(&mut bytes, rule, family);
        let hash = Sha256::digest(&bytes);
        format!("{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3], hash[4], hash[5])
    };
    chain.rules.iter().map(tag).collect()
}

/// nft's user data for a comment: type 0, length, NUL-terminated text.
fn comment(text: &str) -> Vec<u8> {
    let text = text.get(..MAX_COMMENT).unwrap_or(text);
    let mut out = vec![0, (text.len() + 1) as u8];
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out
}

/// What a dump says of a table, elements aside.
#[derive(Debug, Default)]
pub(crate) struct Skeleton {
    /// Flags, key length and data length of each set.
    pub sets: BTreeMap<String, (u32, u32, u32)>,
    /// Tags of each chain's rules, and whether it is a base chain.
    pub chains: BTreeMap<String, (bool, Vec<String>)>,
}

impl Skeleton {
    /// Whether a set is there as specified.
    pub fn has_set(&self, spec: &SetSpec, family: u8) -> bool {
        let data = match spec.data {
            Data::Value(fields) => length(fields, family),
            Data::None | Data::Verdict => 0,
        };
        let known = self.sets.get(spec.name);
        known.is_some_and(|(flags, key, value)| {
            *flags == set_flags(spec) && *key == length(spec.key, family) && (data == 0 || *value == data)
        })
    }
}

fn request(kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, NFTABLES | kind, flags, family, 0, body);
    out
}

/// Whether our table of a family exists.
pub(crate) fn table_exists(netlink: &mut Netlink, family: u8) -> Result<bool, Error> {
    let mut found = false;
    let all = request(kind::GET_TABLE, flags::DUMP, family, |_| {});
    let restart = || {};
    netlink.dump("the nftables tables", &all, restart, |table| found |= table.str(1) == Some(TABLE))?;
    Ok(found)
}

/// Reads sets, chains and rules of our table.
pub(crate) fn skeleton(netlink: &mut Netlink, family: u8) -> Result<Skeleton, Error> {
    let mut sets = BTreeMap::new();
    let in_table = |o: &mut Vec<u8>| o.put_str(1, TABLE);
    netlink.dump(
        "the sets of table orlop",
        &request(kind::GET_SET, flags::DUMP, family, in_table),
        || {},
        |set| {
            if let Some(name) = set.str(2) {
                let number = |kind| set.u32(kind).unwrap_or(0);
                sets.insert(name.to_string(), (number(3), number(5), number(7)));
            }
        },
    )?;
    let mut chains = BTreeMap::new();
    netlink.dump(
        "the chains of table orlop",
        &request(kind::GET_CHAIN, flags::DUMP, family, in_table),
        || {},
        |chain| {
            if let (Some(TABLE), Some(name)) = (chain.str(1), chain.str(3)) {
                chains.insert(name.to_string(), (chain.get(4).is_some(), Vec::new()));
            }
        },
    )?;
    let mut rules: Vec<(String, String)> = Vec::new();
    let read = std::cell::RefCell::new(&mut rules);
    netlink.dump(
        "the rules of table orlop",
        &request(kind::GET_RULE, flags::DUMP, family, in_table),
        || read.borrow_mut().clear(),
        |rule| {
            if let (Some(TABLE), Some(chain)) = (rule.str(1), rule.str(2)) {
                read.borrow_mut().push((chain.to_string(), tag_of(rule)));
            }
        },
    )?;
    for (chain, tag) in rules {
        if let Some((_, tags)) = chains.get_mut(&chain) {
            tags.push(tag);
        }
    }
    Ok(Skeleton { sets, chains })
}

/// A rule as it is in the kernel.
#[derive(Debug)]
pub(crate) struct Written {
    /// The tag it was written with.
    pub tag: String,
    /// The mask and the value of a masked comparison.
    pub masked: Option<(Vec<u8>, Vec<u8>)>,
}

impl Written {
    /// Whether it is a rule of ours: it has a tag. The kernel lets nobody edit a rule in place.
    pub fn is_as_tagged(&self) -> bool {
        self.tag.len() == 12 && self.tag.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// Reads the rules of one chain.
pub(crate) fn rules_of(netlink: &mut Netlink, family: u8, chain: &str) -> Result<Vec<Written>, Error> {
    let mut rules = Vec::new();
    let wanted = request(kind::GET_RULE, flags::DUMP, family, |o| {
        o.put_str(1, TABLE);
        o.put_str(2, chain);
    });
    let read = std::cell::RefCell::new(&mut rules);
    netlink.dump(
        "the rules of a chain of table orlop",
        &wanted,
        || read.borrow_mut().clear(),
        |rule| {
            if (rule.str(1), rule.str(2)) == (Some(TABLE), Some(chain)) {
                read.borrow_mut().push(written(rule));
            }
        },
    )?;
    Ok(rules)
}

fn written(rule: Attributes<'_>) -> Written {
    let (mut mask, mut value) = (None, None);
    for (_, expression) in rule.nested(4).filter(|(kind, _)| *kind == LIST_ELEM) {
        let expression = Attributes(expression);
        let data = expression.nested(2);
        match expression.str(1).unwrap_or_default() {
            "bitwise" => mask = data.nested(4).get(1).map(<[u8]>::to_vec),
            "cmp" => value = data.nested(3).get(1).map(<[u8]>::to_vec),
            _ => {}
        }
    }
    Written { tag: tag_of(rule), masked: mask.zip(value) }
}

/// The comment in a rule's user data.
fn tag_of(rule: Attributes<'_>) -> String {
    let tag = rule.get(7).and_then(|data| data.get(2..)).unwrap_or_default();
    String::from_utf8_lossy(tag.strip_suffix(&[0]).unwrap_or(tag)).into_owned()
}

/// Reads one element's value; none if the map (or the table) has no such key.
pub(crate) fn value(netlink: &mut Netlink, family: u8, map: &str, key: &Bytes) -> Result<Option<Bytes>, Error> {
    Ok(values(netlink, family, map, &[*key])?.pop().flatten())
}

/// Reads the values of some keys, each none if there is no such key, and empty in a set.
pub(crate) fn values(
    netlink: &mut Netlink,
    family: u8,
    map: &str,
    keys: &[Bytes],
) -> Result<Vec<Option<Bytes>>, Error> {
    let mut all = Vec::with_capacity(keys.len());
    while all.len() < keys.len() {
        let rest = &keys[all.len()..];
        let asked = &rest[..rest.len().min(netlink.answers_at_once())];
        let wanted = request(kind::GET_ELEMENT, 0, family, |o| {
            o.put_str(1, TABLE);
            o.put_str(2, map);
            o.nest(3, |o| asked.iter().for_each(|key| o.nest(LIST_ELEM, |o| o.nest(1, |o| o.put(1, key.as_slice())))));
        });
        let before = all.len();
        let found = netlink.ask("elements of a map of table orlop", wanted, |answer| {
            let element = answer.nested(3).nested(LIST_ELEM);
            all.push(element.nested(2).get(1).map_or(Some(Bytes::EMPTY), Bytes::of));
        })?;
        if !found || all.len() == before {
            // The kernel answers in order, up to the first that it does not have.
            all.push(None);
        }
    }
    Ok(all)
}

/// Reads the elements of a set, sorted.
pub(crate) fn elements(netlink: &mut Netlink, family: u8, set: &str) -> Result<Vec<Element>, Error> {
    let mut all = Vec::new();
    each_element(netlink, family, set, &mut all, |element| {
        let key = Bytes::of(element.nested(1).get(1)?)?;
        let value = element.nested(2).get(1).map_or(Some(Bytes::EMPTY), Bytes::of)?;
        Some(Element { key, value, end: element.u32(3).unwrap_or(0) & 1 != 0 })
    })?;
    all.sort_unstable();
    Ok(all)
}

/// Reads how many packets found each element of a counted map; elements that do not count are left out.
pub(crate) fn counts(netlink: &mut Netlink, family: u8, map: &str) -> Result<Vec<(Element, u64)>, Error> {
    let mut all = Vec::new();
    each_element(netlink, family, map, &mut all, |element| {
        let key = Bytes::of(element.nested(1).get(1)?)?;
        let value = Bytes::of(element.nested(2).get(1)?)?;
        let counter = element.nested(ELEMENT_EXPRESSION);
        let packets = counter.nested(2).get(COUNTER_PACKETS).filter(|_| counter.str(1) == Some(COUNTER))?;
        Some((Element { key, value, end: false }, u64::from_be_bytes(packets.try_into().ok()?)))
    })?;
    Ok(all)
}

/// Reads a verdict map: keys with the chains they lead to.
pub(crate) fn verdicts(netlink: &mut Netlink, family: u8, map: &str) -> Result<Vec<(Bytes, String)>, Error> {
    let mut all = Vec::new();
    each_element(netlink, family, map, &mut all, |element| {
        let key = Bytes::of(element.nested(1).get(1)?)?;
        Some((key, element.nested(2).nested(2).str(2).unwrap_or_default().to_string()))
    })?;
    Ok(all)
}

fn each_element<T>(
    netlink: &mut Netlink,
    family: u8,
    set: &str,
    all: &mut Vec<T>,
    parse: impl Fn(Attributes<'_>) -> Option<T>,
) -> Result<(), Error> {
    let wanted = request(kind::GET_ELEMENT, flags::DUMP, family, |o| {
        o.put_str(1, TABLE);
        o.put_str(2, set);
    });
    let all = std::cell::RefCell::new(all);
    netlink.dump(
        "the elements of a set of table orlop",
        &wanted,
        || all.borrow_mut().clear(),
        |answer| {
            let list = answer.nested(3).filter(|(kind, _)| *kind == LIST_ELEM);
            all.borrow_mut().extend(list.filter_map(|(_, element)| parse(Attributes(element))));
        },
    )
}
