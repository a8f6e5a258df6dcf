//! The methods of `ImageService`.

use tonic::Request;

use super::{CriClient, DEADLINE, named, within};
use crate::CriError;
use crate::v1::*;

impl CriClient {
    /// The image as the runtime has it; `None` when it is not present.
    pub async fn image_status(&self, image: &str) -> Result<Option<Image>, CriError> {
        let request = within(DEADLINE, ImageStatusRequest { image: Some(spec(image)), verbose: false });
        named("ImageStatus", image, self.image.clone().image_status(request).await).map(|r| r.image)
    }

    /// All images on the node.
    pub async fn list_images(&self) -> Result<Vec<Image>, CriError> {
        let request = within(DEADLINE, ListImagesRequest { filter: None });
        named("ListImages", "", self.image.clone().list_images(request).await).map(|r| r.images)
    }

    /// Pulls an image and returns its reference on this node. Without a deadline: the runtime gives up when no byte arrives.
    pub async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        sandbox_config: Option<PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let request = Request::new(PullImageRequest { image: Some(spec(image)), auth, sandbox_config });
        named("PullImage", image, self.image.clone().pull_image(request).await).map(|r| r.image_ref)
    }

    /// Removes an image. Idempotent.
    pub async fn remove_image(&self, image: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, RemoveImageRequest { image: Some(spec(image)) });
        named("RemoveImage", image, self.image.clone().remove_image(request).await).map(drop)
    }

    /// How much of the image filesystems is used.
    pub async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, CriError> {
        let request = within(DEADLINE, ImageFsInfoRequest {});
        named("ImageFsInfo", "", self.image.clone().image_fs_info(request).await)
    }
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..ImageSpec::default() }
}
