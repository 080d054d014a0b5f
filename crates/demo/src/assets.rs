//! The files of the page, by path.

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its content.
    pub bytes: &'static [u8],
    /// For the `Content-Type` header.
    pub content_type: &'static str,
    /// For the `ETag` header, in its quotes.
    pub etag: &'static str,
    /// For the `Cache-Control` header: names with a hash in them never change their content.
    pub cache_control: &'static str,
}

struct File {
    path: &'static str,
    bytes: &'static [u8],
    etag: &'static str,
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a path of the URL (`/`, `/assets/index-abc.js`), if the page has one there.
///
/// # Examples
///
/// ```
/// let page = tidegate_demo::asset("/").expect("the page is always there");
/// assert_eq!(page.content_type, "text/html; charset=utf-8");
/// assert!(tidegate_demo::asset("/../Cargo.toml").is_none());
/// ```
pub fn asset(path: &str) -> Option<Asset> {
    let path = match path.trim_start_matches('/') {
        "" => "index.html",
        other => other,
    };
    let file = FILES.iter().find(|file| file.path == path)?;
    let forever = path.starts_with("assets/");
    Some(Asset {
        bytes: file.bytes,
        content_type: content_type(path),
        etag: file.etag,
        cache_control: if forever { "public, max-age=31536000, immutable" } else { "no-cache" },
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, asset};

    #[test]
    fn every_file_of_the_page_is_served_with_its_type_and_tag() {
        for file in FILES {
            let asset = asset(&format!("/{}", file.path)).expect("listed");
            assert_eq!(asset.bytes, file.bytes);
            assert_ne!(asset.content_type, "application/octet-stream", "{}", file.path);
            assert!(asset.etag.starts_with('"') && asset.etag.ends_with('"') && asset.etag.len() == 18);
        }
    }

    #[test]
    fn the_page_is_checked_on_every_visit_and_what_it_loads_is_kept() {
        assert_eq!(asset("/").expect("page").cache_control, "no-cache");
        assert_eq!(asset("/"), asset("/index.html"));
        for file in FILES.iter().filter(|file| file.path.starts_with("assets/")) {
            assert!(asset(file.path).expect("listed").cache_control.contains("immutable"));
        }
    }

    #[test]
    fn there_is_nothing_beside_the_page() {
        assert_eq!(asset("/nothing"), None);
        assert_eq!(asset("/assets"), None);
        assert_eq!(asset("/assets/../index.html"), None);
    }
}
