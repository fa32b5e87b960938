//! `GET /` and `/dashboard/{file}`: a page that shows the engine at work. All of it is compiled in, its charts too.
//!
//! The page is plain HTML, CSS and modules of JavaScript, one for each panel. It asks this server alone, as its policy tells
//! the browser, and holds nothing of the model itself: what it loads asks for a key where there are keys.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::Problem;
use super::problem::no_such_route;

/// What the page may do: load from here, and nothing that is written into it. Plotly tries a picture of its own.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What a name ends with, and what such a file is.
const KINDS: [(&str, &str); 4] = [
    (".html", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".svg", "image/svg+xml"),
];

#[derive(RustEmbed)]
#[folder = "src/serve/dashboard/"]
struct Files;

/// The page and its files.
pub(super) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(index))
        .route("/dashboard/plotly.js", get(plotly))
        .route("/dashboard/{file}", get(file))
}

async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    found("index.html", &headers).ok_or_else(|| Problem::internal("the page was not compiled in"))
}

async fn file(Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    match found(&name, &headers) {
        Some(response) => Ok(response),
        None => Err(no_such_route(uri).await),
    }
}

fn found(name: &str, headers: &HeaderMap) -> Option<Response> {
    let (_, kind) = KINDS.into_iter().find(|(end, _)| name.ends_with(end))?;
    let file = Files::get(name)?;
    let tag = tag(&file.metadata.sha256_hash());
    Some(told(kind, &tag, headers, || Bytes::from(file.data.into_owned())))
}

/// A tag that names these bytes and no others.
fn tag(hash: &[u8]) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", hex::encode(hash))).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The answer: the bytes, or that the browser has them. It asks each time, since names stay while contents change.
fn told(kind: &'static str, tag: &HeaderValue, headers: &HeaderMap, bytes: impl FnOnce() -> Bytes) -> Response {
    let about: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag.clone()),
    ];
    if is_known(headers, tag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, kind)], bytes()).into_response()
}

fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).map(str::trim).any(|one| {
        let strong = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || strong.as_bytes() == tag.as_bytes()
    })
}

/// Plotly as it is sent: compressed once, when it is first asked for.
struct Plotly {
    plain: Bytes,
    gzip: Bytes,
    tags: [HeaderValue; 2],
}

impl Plotly {
    fn get() -> &'static Self {
        static PLOTLY: OnceLock<Plotly> = OnceLock::new();
        PLOTLY.get_or_init(|| {
            let plain = Bytes::from(script(&plotly::Plot::offline_js_sources()).to_owned());
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            // Writing to memory does not fail; if it did, the browser would get what is not compressed.
            let gzip =
                encoder.write_all(&plain).and_then(|()| encoder.finish()).map_or_else(|_| plain.clone(), Bytes::from);
            let tags = [&plain, &gzip].map(|bytes| tag(&Sha256::digest(bytes)));
            Self { plain, gzip, tags }
        })
    }
}

/// The first script of the crate's page; a typesetter of formulas is behind it.
fn script(page: &str) -> &str {
    let script = page.split_once("</script>").map_or(page, |(first, _)| first);
    script.split_once('>').map_or(script, |(_, script)| script)
}

async fn plotly(headers: HeaderMap) -> Result<Response, Problem> {
    let plotly = spawn_blocking(Plotly::get).await.map_err(|error| Problem::internal(&error.to_string()))?;
    let gzip = takes_gzip(&headers) && plotly.gzip.len() < plotly.plain.len();
    let bytes = if gzip { &plotly.gzip } else { &plotly.plain };
    let tag = &plotly.tags[usize::from(gzip)];
    let mut response = told(KINDS[2].1, tag, &headers, || bytes.clone());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip && response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(|q| q == "q=0")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use flate2::read::GzDecoder;
    use tower::ServiceExt;

    use super::*;

    const MOST: usize = 16 << 20;

    async fn ask(path: &str, given: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().uri(path);
        for (name, value) in given {
            request = request.header(name, *value);
        }
        let response = pages().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, to_bytes(body, MOST).await.unwrap())
    }

    fn files() -> Vec<(String, String)> {
        let text = |name: &str| String::from_utf8(Files::get(name).unwrap().data.into_owned()).unwrap();
        Files::iter().map(|name| (name.to_string(), text(&name))).collect()
    }

    #[tokio::test]
    async fn each_file_has_its_kind_a_strict_policy_and_a_tag_by_which_it_is_not_sent_again() {
        for (name, text) in files() {
            let path = format!("/dashboard/{name}");
            let (status, headers, body) = ask(&path, &[]).await;
            assert_eq!((status, &body[..]), (StatusCode::OK, text.as_bytes()), "{name}");
            let kind = KINDS.into_iter().find(|(end, _)| name.ends_with(end)).unwrap().1;
            assert_eq!(headers[header::CONTENT_TYPE], kind, "{name}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{name}");
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
            let tag = headers[header::ETAG].to_str().unwrap();
            assert!(tag.starts_with('"'), "{tag}");
            for known in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".to_owned()] {
                let (status, again, body) = ask(&path, &[(header::IF_NONE_MATCH, &known)]).await;
                assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{name} {known}");
                assert_eq!(again[header::ETAG], tag);
            }
            assert_eq!(ask(&path, &[(header::IF_NONE_MATCH, "\"other\"")]).await.0, StatusCode::OK);
        }
        let (status, headers, body) = ask("/", &[]).await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &HeaderValue::from_static(KINDS[0].1)));
        assert!(body.starts_with(b"<!doctype html>"));
    }

    #[tokio::test]
    async fn what_there_is_not_is_not_found() {
        for path in ["/dashboard/none.js", "/dashboard/..%2Fdashboard.rs", "/dashboard/%2e%2e%2fmod.rs", "/dashboard/"]
        {
            assert_eq!(ask(path, &[]).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn plotly_is_sent_compressed_to_those_who_take_it() {
        let (status, headers, plain) = ask("/dashboard/plotly.js", &[]).await;
        assert_eq!((status, headers.get(header::CONTENT_ENCODING)), (StatusCode::OK, None));
        assert!(plain.starts_with(b"/**\n* plotly.js v") && !plain.ends_with(b"</script>"));
        let sent = [(header::ACCEPT_ENCODING, "br, gzip;q=0.8")];
        let (_, headers, gzip) = ask("/dashboard/plotly.js", &sent).await;
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        assert_eq!(headers[header::VARY], "accept-encoding");
        assert!(gzip.len() < plain.len() / 2);
        let mut unpacked = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
        let known = headers[header::ETAG].to_str().unwrap();
        let again = [sent[0].clone(), (header::IF_NONE_MATCH, known)];
        assert_eq!(ask("/dashboard/plotly.js", &again).await.0, StatusCode::NOT_MODIFIED);
        let (_, headers, _) = ask("/dashboard/plotly.js", &[(header::ACCEPT_ENCODING, "gzip;q=0")]).await;
        assert_eq!(headers.get(header::CONTENT_ENCODING), None);
    }

    #[test]
    fn the_page_asks_nobody_else_and_text_goes_into_it_as_text() {
        for (name, text) in files() {
            // The name of a language, which nobody follows.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for outside in ["http:", "https:", "ws:", "wss:", "@import"] {
                assert!(!text.contains(outside), "{name} has {outside}");
            }
            for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(markup), "{name} has {markup}");
            }
            assert!(text.lines().count() < 300, "{name} is long");
        }
    }

    #[test]
    fn the_policy_forbids_nothing_that_the_page_has() {
        let page = files().into_iter().find(|(name, _)| name == "index.html").unwrap().1;
        for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn all_that_is_loaded_is_there() {
        let files = files();
        let there = |name: &str| name == "plotly.js" || files.iter().any(|(known, _)| known == name);
        for (name, text) in &files {
            for (marker, end) in [("\"/dashboard/", '"'), ("from \"./", '"'), ("import \"./", '"')] {
                for loaded in text.split(marker).skip(1).filter_map(|rest| rest.split(end).next()) {
                    assert!(there(loaded), "{name} loads {loaded}");
                }
            }
        }
        let page = &files.iter().find(|(name, _)| name == "index.html").unwrap().1;
        for panel in ["stream", "learning", "predicted", "map", "user", "model", "faults"] {
            assert!(page.contains(&format!("<section id=\"{panel}\"")), "{panel}");
        }
    }
}
