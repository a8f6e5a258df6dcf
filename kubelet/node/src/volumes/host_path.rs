//! `hostPath`: a path of the node, checked for what the pod says it is.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use crate::error::PodError;

/// Checks or creates the path, by its type.
pub fn check(source: &HostPathVolumeSource) -> Result<PathBuf, PodError> {
    let path = PathBuf::from(&source.path);
    let wanted = source.type_.as_deref().unwrap_or_default();
    let create = |result: std::io::Result<()>| {
        result.map_err(|error| PodError::file(format!("creating {}", path.display()), error))
    };
    match wanted {
        "" => return Ok(path),
        "DirectoryOrCreate" if !path.exists() => create(std::fs::create_dir_all(&path))?,
        "FileOrCreate" if !path.exists() => create(std::fs::File::create(&path).map(drop))?,
        _ => {}
    }
    let kind = std::fs::metadata(&path).map(|metadata| metadata.file_type()).ok();
    let fits = kind.is_some_and(|kind| match wanted {
        "Directory" | "DirectoryOrCreate" => kind.is_dir(),
        "File" | "FileOrCreate" => kind.is_file(),
        "Socket" => kind.is_socket(),
        "CharDevice" => kind.is_char_device(),
        "BlockDevice" => kind.is_block_device(),
        _ => false,
    });
    let noun = match wanted {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        _ => "block device",
    };
    if fits {
        Ok(path)
    } else {
        let message = format!("hostPath type check failed: {} is not a {noun}", path.display());
        Err(PodError::ContainerConfig(message))
    }
}
