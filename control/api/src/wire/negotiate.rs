//! Content negotiation: the encoding and the shape (object, Table, PartialObjectMetadata) that the client prefers among those
//! that can be produced.

use http::HeaderMap;
use http::header::ACCEPT;
use orlop_schema::protobuf::MEDIA_TYPE;

use crate::status::Status;

/// How bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Encoding {
    /// The `Content-Type` of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => MEDIA_TYPE,
        }
    }
}

/// What is shown of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata(List).
    Metadata,
}

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// Encoding.
    pub encoding: Encoding,
    /// Shape.
    pub shape: Shape,
    /// The shape's version is v1beta1.
    pub beta: bool,
    /// Metadata are asked for as those of a list.
    pub list: bool,
}

/// What every object can be produced as.
pub const PRODUCED: &[&str] = &["application/json", "application/yaml", MEDIA_TYPE];

/// Refuses, as kube-apiserver's router does, a request that accepts none of these types; parameters do not count yet.
pub fn producible(headers: &HeaderMap, types: &[&str]) -> Result<(), Status> {
    let mut none = true;
    for header in headers.get_all(ACCEPT) {
        for clause in header.to_str().unwrap_or_default().split(',') {
            let accepted = clause.split(';').next().unwrap_or_default().trim();
            if accepted == "*/*" || types.contains(&accepted) {
                return Ok(());
            }
            none &= accepted.is_empty();
        }
    }
    if none { Ok(()) } else { Err(Status::not_producible(types)) }
}

impl Accept {
    /// JSON objects.
    pub const JSON: Self = Self::object(Encoding::Json);

    const fn object(encoding: Encoding) -> Self {
        Self { encoding, shape: Shape::Object, beta: false, list: false }
    }

    /// The `apiVersion` of a Table or of metadata alone.
    pub fn shape_version(&self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    /// 406 where metadata are asked for as those of a list of what is none, or the other way around.
    pub fn check_list(&self, is_list: bool, go_type: impl Fn() -> String) -> Result<(), Status> {
        if self.shape != Shape::Metadata || self.list == is_list {
            return Ok(());
        }
        let (asked, is) = match is_list {
            true => ("PartialObjectMetadata", "is a list"),
            false => ("PartialObjectMetadataList", "is not a list"),
        };
        Err(Status::unacceptable(format!("you requested {asked}, but the requested object {is} ({})", go_type())))
    }

    /// Chooses from the `Accept` headers; without one, JSON.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Status> {
        Self::choose(headers, |_| true)
    }

    /// Likewise for custom objects, whose only protobuf form is that of their metadata.
    pub fn without_protobuf(headers: &HeaderMap) -> Result<Self, Status> {
        Self::choose(headers, |accept| accept.encoding != Encoding::Protobuf || accept.shape == Shape::Metadata)
    }

    fn choose(headers: &HeaderMap, can: impl Fn(&Self) -> bool) -> Result<Self, Status> {
        let mut clauses: Vec<(u32, Self)> = Vec::new();
        let mut any = false;
        for header in headers.get_all(ACCEPT) {
            for clause in header.to_str().unwrap_or_default().split(',').filter(|c| !c.trim().is_empty()) {
                any = true;
                clauses.extend(parse(clause).filter(|(_, accept)| can(accept)));
            }
        }
        if !any {
            return Ok(Self::JSON);
        }
        // Highest quality first; the order in the header decides between equals (the sort is stable).
        clauses.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        clauses.first().map(|(_, accept)| *accept).ok_or_else(Self::none)
    }

    /// Why nothing that the client asks for can be produced.
    pub fn none() -> Status {
        Status::not_acceptable(PRODUCED)
    }
}

fn parse(clause: &str) -> Option<(u32, Accept)> {
    let mut parts = clause.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        MEDIA_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let (mut quality, mut shape, mut group, mut version) = (1000, Shape::Object, "", "");
    let mut list = false;
    for part in parts {
        match part.split_once('=') {
            Some(("q", q)) => quality = q.parse::<f32>().map(|q| (q.clamp(0.0, 1.0) * 1000.0) as u32).unwrap_or(1000),
            Some(("as", "Table")) => shape = Shape::Table,
            Some(("as", "PartialObjectMetadata")) => shape = Shape::Metadata,
            Some(("as", "PartialObjectMetadataList")) => (shape, list) = (Shape::Metadata, true),
            Some(("as", _)) => return None,
            Some(("g", g)) => group = g,
            Some(("v", v)) => version = v,
            _ => {}
        }
    }
    // A Table has no protobuf form.
    if shape == Shape::Table && encoding == Encoding::Protobuf {
        return None;
    }
    if shape != Shape::Object && (group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1")) {
        return None;
    }
    Some((quality, Accept { encoding, shape, beta: shape != Shape::Object && version == "v1beta1", list }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Accept, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Accept::from_headers(&headers)
    }

    #[test]
    fn kubectl_gets_its_table() {
        let asked = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(asked).unwrap().shape, Shape::Table);
    }

    #[test]
    fn an_unknown_shape_falls_through_to_the_next_clause() {
        assert_eq!(accept("application/json;as=Table;v=v7;g=meta.k8s.io,application/json").unwrap(), Accept::JSON);
        assert!(accept("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json").unwrap().beta);
    }

    #[test]
    fn a_table_is_never_protobuf() {
        let asked = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io";
        let table = accept(asked).unwrap();
        assert_eq!((table.encoding, table.shape), (Encoding::Json, Shape::Table));
        let asked = "application/vnd.kubernetes.protobuf;stream=watch, application/json";
        assert_eq!(accept(asked).unwrap(), Accept::object(Encoding::Protobuf));
    }

    #[test]
    fn quality_orders_the_clauses() {
        assert_eq!(accept("application/json;q=0.5, application/yaml;q=0.9").unwrap().encoding, Encoding::Yaml);
    }

    #[test]
    fn what_cannot_be_produced_is_not_acceptable() {
        assert_eq!(accept("text/html").unwrap_err().code, 406);
        assert_eq!(accept("text/html, */*").unwrap(), Accept::JSON);
    }
}
