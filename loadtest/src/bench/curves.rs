//! Lines of growth as a picture that stands by itself. Pure.

use super::finding::Curve;
use crate::load::plot::{Axis, Line, Plot, Scale};

/// Read by people in light and in dark; the colours are named in [`caption`].
const STYLE: &str = "text{font:11px system-ui,sans-serif;fill:#5b6675}.end{text-anchor:end}\
    .middle{text-anchor:middle}.grid{stroke:#9aa5b4;stroke-opacity:.4;fill:none}\
    .line{fill:none;stroke-width:2}.c0{stroke:#3d7be0}.c1{stroke:#d2622a}.c2{stroke:#2b9d5f}";
/// The colours of [`STYLE`], in their order.
const COLOURS: [&str; 3] = ["blue", "orange", "green"];

/// The lines over a logarithmic axis of sizes.
pub(super) fn picture(curves: &[Curve]) -> String {
    let lines = curves
        .iter()
        .map(|curve| Line { name: curve.name.to_owned(), points: curve.points.clone() });
    let plot = Plot {
        title: "CPU a request by size",
        x: Axis { label: "size", scale: Scale::Log },
        y: Axis { label: "CPU a request, µs", scale: Scale::Linear },
        lines: lines.collect(),
    };
    let text = plot.to_string();
    let svg = text.split_inclusive("</svg>").next().unwrap_or_default();
    // Room for the last size on the axis.
    let roomy = svg.replacen("0 0 640 ", "0 0 660 ", 1);
    let named = roomy.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    named.replacen('>', &format!("><style>{STYLE}</style>"), 1)
}

/// Which line is which.
pub(super) fn caption(curves: &[Curve]) -> String {
    let named =
        curves.iter().zip(COLOURS).map(|(curve, colour)| format!("{} {colour}", curve.name));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_stands_by_itself() {
        let points = vec![(1e3, 30.0), (1e6, 31.0)];
        let curves =
            [Curve { name: "history", points }, Curve { name: "models", points: Vec::new() }];
        let svg = picture(&curves);
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>"), "{svg}");
        assert!(svg.contains("<style>") && svg.contains(">1000<"), "{svg}");
        assert_eq!(caption(&curves), "history blue, models orange");
    }
}
