//! Media in a request: what can be seen of them, and the most tokens that they can cost.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use imagesize::ImageType;
use opencredits_schema::{Model, Provider};

/// How much of an image is decoded to find its size, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// The most pages that a document is taken for.
const PAGES_MAX: u64 = 1_000;
/// A document has at most a page for so many bytes, unless its pages can be counted.
const BYTES_PER_PAGE: u64 = 2_000;
/// Tokens of the text on a page.
const PAGE_TEXT_TOKENS: u64 = 3_000;

/// One image, document or recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    what: What,
    /// Its data's place in the body; `None` when the data is elsewhere or counts as text.
    cut: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An image, its width and height in pixels if they are known.
    Image { size: Option<(u64, u64)>, detail: Detail },
    /// A document of so many pages at most.
    Pdf { pages: u64 },
    /// A recording of so many bytes.
    Audio { bytes: u64 },
    /// Anything: as much as the model takes.
    Unbounded,
}

/// OpenAI's `detail` of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// `auto`, `high`, or nothing.
    #[default]
    High,
    /// `low`.
    Low,
    /// `original`, or something that cannot be read.
    Original,
}

impl Detail {
    /// Reads the JSON value.
    pub(crate) fn read(json: &str) -> Self {
        match json {
            r#""low""# => Self::Low,
            r#""auto""# | r#""high""# | "null" => Self::High,
            _ => Self::Original,
        }
    }

    /// This one, unless only the other says something.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::High { other } else { self }
    }
}

impl Media {
    /// An image of base64 data, which lies there in the body.
    pub(crate) fn image(data: &str, cut: Range<usize>, detail: Detail) -> Self {
        Self { what: What::Image { size: size(data), detail }, cut: Some(cut) }
    }

    /// An image behind an address.
    pub(crate) fn unseen_image(detail: Detail) -> Self {
        Self { what: What::Image { size: None, detail }, cut: None }
    }

    /// A PDF document of base64 data.
    pub(crate) fn pdf(data: &str, cut: Range<usize>) -> Self {
        Self { what: What::Pdf { pages: pages(data) }, cut: Some(cut) }
    }

    /// A document behind an address.
    pub(crate) fn unseen_pdf() -> Self {
        Self { what: What::Pdf { pages: PAGES_MAX }, cut: None }
    }

    /// A recording of base64 data.
    pub(crate) fn audio(data: &str, cut: Range<usize>) -> Self {
        Self { what: What::Audio { bytes: decoded_len(data) }, cut: Some(cut) }
    }

    /// Something of unknown form; its data counts as text as well.
    pub(crate) fn unbounded() -> Self {
        Self { what: What::Unbounded, cut: None }
    }

    /// The place of its data in the body.
    pub(crate) fn cut(&self) -> Option<&Range<usize>> {
        self.cut.as_ref()
    }

    /// Whether it is a recording.
    pub(crate) fn is_audio(&self) -> bool {
        match self.what {
            What::Audio { .. } => true,
            What::Image { .. } | What::Pdf { .. } | What::Unbounded => false,
        }
    }

    /// The most tokens that it costs on this model (`providers.md` 4.4).
    pub(crate) fn tokens(&self, model: &Model) -> u64 {
        match self.what {
            What::Image { size, detail } => image_tokens(model, size, detail),
            What::Pdf { pages } => {
                let page = page_tokens(model);
                let limit = match model.provider {
                    // Anthropic takes 600 pages, 100 on models of 200,000 tokens.
                    Provider::Anthropic if model.max_input_tokens <= 200_000 => 100,
                    Provider::Anthropic => 600,
                    Provider::OpenAi | Provider::Google | Provider::XAi => PAGES_MAX,
                };
                pages.min(limit).saturating_mul(page)
            }
            What::Audio { bytes } => audio_tokens(model.provider, bytes),
            What::Unbounded => model.max_input_tokens,
        }
    }
}

fn page_tokens(model: &Model) -> u64 {
    let image = match model.provider {
        Provider::Google if is_gemini_2(model) => return 258,
        Provider::Google => return 1_120,
        Provider::Anthropic => anthropic_image(model, None),
        Provider::OpenAi => openai_image(model, None, Detail::High),
        Provider::XAi => xai_image(None),
    };
    image.saturating_add(PAGE_TEXT_TOKENS)
}

/// A second of audio is 10 tokens at OpenAI and 32 at Google, and no less than 500 bytes.
fn audio_tokens(provider: Provider, bytes: u64) -> u64 {
    let bytes_per_token = match provider {
        Provider::OpenAi | Provider::XAi => 50,
        Provider::Google | Provider::Anthropic => 15,
    };
    (bytes / bytes_per_token).saturating_add(64)
}

/// What stands around an image in the prompt.
const IMAGE_MARKS: u64 = 16;

fn image_tokens(model: &Model, size: Option<(u64, u64)>, detail: Detail) -> u64 {
    let tokens = match model.provider {
        Provider::Anthropic => anthropic_image(model, size),
        Provider::OpenAi => openai_image(model, size, detail),
        Provider::Google if is_gemini_2(model) => gemini_2_image(size),
        Provider::Google => 1_120,
        Provider::XAi => xai_image(size),
    };
    tokens.saturating_add(IMAGE_MARKS)
}

fn tiles(size: (u64, u64), side: u64) -> u64 {
    size.0.div_ceil(side).saturating_mul(size.1.div_ceil(side))
}

fn anthropic_image(model: &Model, size: Option<(u64, u64)>) -> u64 {
    let most = if super::is_recent_claude(model) { 4_800 } else { 1_600 };
    size.map_or(most, |size| tiles(size, 28).min(most))
}

fn is_gemini_2(model: &Model) -> bool {
    model.upstream_id.contains("gemini-2")
}

/// The most tiles that Gemini 2 is taken to cut an image into.
const GEMINI_TILES_MAX: u64 = 16;

fn gemini_2_image(size: Option<(u64, u64)>) -> u64 {
    let tiles = match size {
        Some((width, height)) if width <= 384 && height <= 384 => 1,
        Some(size) => tiles(size, 768),
        None => GEMINI_TILES_MAX,
    };
    tiles.min(GEMINI_TILES_MAX).saturating_mul(258)
}

fn xai_image(size: Option<(u64, u64)>) -> u64 {
    let tiles = size.map_or(6, |size| tiles(size, 448).min(6));
    tiles.saturating_add(1).saturating_mul(256)
}

/// OpenAI counts tiles on some models and patches on others.
fn openai_image(model: &Model, size: Option<(u64, u64)>, detail: Detail) -> u64 {
    let id = model.upstream_id.as_str();
    let has = |names: &[&str]| names.iter().any(|name| id.starts_with(name));
    let small = id.contains("-mini") || id.contains("-nano");
    if id.contains("4o-mini") {
        return tiled(size, detail, 2_833, 5_667);
    }
    let tiles_of_5 = ["gpt-5-", "gpt-5.1", "gpt-5.2", "gpt-5.3"];
    if id == "gpt-5" || has(&tiles_of_5) && !small {
        return tiled(size, detail, 70, 140);
    }
    if has(&["o1", "o3"]) {
        return tiled(size, detail, 75, 150);
    }
    if has(&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-4-", "gpt-3", "chatgpt-4o"]) && !small {
        return tiled(size, detail, 85, 170);
    }
    patched(size, detail, id.contains("-mini"))
}

fn tiled(size: Option<(u64, u64)>, detail: Detail, base: u64, each: u64) -> u64 {
    let tiles = match (detail, size) {
        (Detail::Low, _) => 0,
        (Detail::High | Detail::Original, Some(size)) => tiles_fitted(size),
        (Detail::High | Detail::Original, None) => TILES_MAX,
    };
    each.saturating_mul(tiles).saturating_add(base)
}

/// 768 by 2,048 pixels in tiles of 512.
const TILES_MAX: u64 = 8;

/// Scaled down to 2,048 pixels at the long side, then 768 at the short one. Rounded up, so that no
/// tile is missed.
fn tiles_fitted((width, height): (u64, u64)) -> u64 {
    let (short, long) = (width.min(height).max(1), width.max(height).max(1));
    let fit = |side: u64, from: u64, to: u64| {
        if from <= to { side } else { side.saturating_mul(to).div_ceil(from) }
    };
    let (short, long) = (fit(short, long, 2_048), long.min(2_048));
    let (long, short) = (fit(long, short, 768), short.min(768));
    tiles((short, long), 512).min(TILES_MAX)
}

fn patched(size: Option<(u64, u64)>, detail: Detail, mini: bool) -> u64 {
    let most = if detail == Detail::Original { 10_000 } else { 1_536 };
    let patches = size.map_or(most, |size| tiles(size, 32).min(most));
    // 1.62 and 1.72 on the mini models, 2.46 on the nano ones and, as a bound, on all others.
    let percent = if mini { 172 } else { 246 };
    patches.saturating_mul(percent).div_ceil(100)
}

/// Takes data with or without its padding, and with stray bits, as decoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn decoded_len(data: &str) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX) / 4 * 3 + 3
}

/// The first bytes of base64 data that lies in JSON, where `/` may be escaped; `None` if it can't
/// be read.
fn decode_head(data: &str, max: usize) -> Option<Vec<u8>> {
    let head = data.get(..max.min(data.len()) / 4 * 4)?;
    if head.contains('\\') {
        let plain = head.replace("\\/", "/");
        return BASE64.decode(plain.get(..plain.len() / 4 * 4)?).ok();
    }
    BASE64.decode(head).ok()
}

/// Width and height by the first bytes, for the formats that all providers take.
fn size(data: &str) -> Option<(u64, u64)> {
    // Nearly every format tells its size at once; a JPEG may have a long preamble.
    [1_024, HEAD_MAX].into_iter().find_map(|max| {
        let head = decode_head(data, max)?;
        let known = matches!(
            imagesize::image_type(&head).ok()?,
            ImageType::Png | ImageType::Jpeg | ImageType::Gif | ImageType::Webp
        );
        let size = imagesize::blob_size(&head).ok().filter(|_| known)?;
        Some((u64::try_from(size.width).ok()?, u64::try_from(size.height).ok()?))
    })
}

/// The most pages of a PDF: as many as its size allows or as can be counted.
fn pages(data: &str) -> u64 {
    let by_size = (decoded_len(data) / BYTES_PER_PAGE).saturating_add(1);
    if by_size >= PAGES_MAX {
        return PAGES_MAX;
    }
    let Some(document) = decode_head(data, data.len()) else { return PAGES_MAX };
    let counted = ["/Type /Page", "/Type/Page"].map(|mark| {
        let found = memchr::memmem::find_iter(&document, mark);
        // `/Pages` are the nodes above them.
        let pages = found.filter(|at| document.get(at.saturating_add(mark.len())) != Some(&b's'));
        u64::try_from(pages.count()).unwrap_or(u64::MAX)
    });
    by_size.max(counted.into_iter().fold(0, u64::saturating_add)).min(PAGES_MAX)
}
