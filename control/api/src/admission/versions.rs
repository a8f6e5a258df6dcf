//! An object as a webhook or a policy sees it: in the version that its rule names, and back; and what it must be after a patch.
//! Both ways of changing an object go through here.

use orlop_schema::decode::DecodeError;
use serde_json::Value;

use super::attributes::Attributes;
use super::rules::Seen;
use crate::convert;
use crate::rest::type_of;
use crate::status::Status;
use crate::strategy;

/// Why a patched object is none.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It became something else.
    #[error("the patched value is not an object of the kind that was sent")]
    OtherKind,
    /// A field has a value of another type.
    #[error(transparent)]
    Type(#[from] DecodeError),
}

impl Seen {
    /// Whether it sees another version than the request has. What a subresource speaks is the same in every version.
    fn is_other_version(&self, attributes: &Attributes<'_>) -> bool {
        self.resource != attributes.resource && self.speaks_of_itself()
    }

    fn speaks_of_itself(&self) -> bool {
        self.kind.kind == self.resource.kind
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.kind.group.as_str() {
            "" => self.kind.version.clone(),
            group => format!("{group}/{}", self.kind.version),
        }
    }

    /// The object in the version that is seen, by its conversion webhook if it has one.
    pub async fn show(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Value, Status> {
        let mut object = object.clone();
        if object.is_object() && self.is_other_version(attributes) {
            convert::between(&attributes.call.server, &attributes.resource, &self.resource, &mut object).await?;
        }
        Ok(object)
    }

    /// An object that was shown, in the version of the request again.
    pub async fn take_back(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        if self.is_other_version(attributes) {
            convert::between(&attributes.call.server, &self.resource, &attributes.resource, object).await?;
        }
        Ok(())
    }

    /// Makes of what a patch left of `shown` an object of the type again: without what the type does not know, which is told.
    pub fn accept(
        &self,
        attributes: &Attributes<'_>,
        shown: &Value,
        patched: &mut Value,
    ) -> Result<Vec<String>, Unfit> {
        if !patched.is_object() || patched["apiVersion"] != shown["apiVersion"] || patched["kind"] != shown["kind"] {
            return Err(Unfit::OtherKind);
        }
        if let Some(custom) = self.resource.custom.as_ref().filter(|_| self.speaks_of_itself()) {
            // Fields of the version that the client wrote are not another version's to drop.
            if self.resource == attributes.resource {
                custom.prune(patched)?;
            }
            return Ok(Vec::new());
        }
        match type_of(&self.api_version(), &self.kind.kind) {
            Some(ty) => Ok(ty.prune(patched)?),
            None => Ok(Vec::new()),
        }
    }

    /// Fills in what is left out, as for any object of the version.
    pub fn default(&self, attributes: &Attributes<'_>, object: &mut Value) {
        if attributes.subresource.is_empty() || self.speaks_of_itself() {
            strategy::default(&self.resource, object);
        }
    }
}
