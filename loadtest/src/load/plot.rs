//! A plot of lines as SVG: no script, colours from the page around it.

use std::fmt;

/// Size of a plot and the room around its lines, in the SVG's own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// The most ticks of a linear axis.
const TICKS_MAX: f64 = 6.0;

/// A plot; shown it is an `<svg>` and the names of its lines.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Said to those who do not see it.
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

/// One line; points that the axes cannot show are left out.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By powers of ten.
    Log,
    /// By nines: the place of a share of all is the logarithm of what is above it.
    Nines,
}

/// An axis over its values.
struct Range {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Scale {
    /// Where a value is before the axis is stretched over its length; none where it has no place.
    fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Nines => -(1.0 - value).log10(),
        };
        place.is_finite().then_some(place)
    }
}

impl Range {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let places: Vec<f64> = values.filter_map(|value| scale.place(value)).collect();
        let (least, most) = places
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), at| (a.min(*at), b.max(*at)));
        let (from, to) = match scale {
            Scale::Linear => (0.0, most),
            Scale::Log => (least.floor(), most.ceil()),
            Scale::Nines => (0.0, most),
        };
        let to = if to > from { to } else { from + 1.0 };
        if from.is_finite() && to.is_finite() { Self { scale, from, to } } else { Self::empty() }
    }

    fn empty() -> Self {
        Self { scale: Scale::Linear, from: 0.0, to: 1.0 }
    }

    /// From 0 to 1 along the axis.
    fn along(&self, value: f64) -> Option<f64> {
        Some((self.scale.place(value)? - self.from) / (self.to - self.from))
    }

    /// The ticks: where along the axis, and what stands there.
    fn ticks(&self) -> Vec<(f64, String)> {
        let along = |place: f64| (place - self.from) / (self.to - self.from);
        let mut ticks = Vec::new();
        match self.scale {
            Scale::Linear => {
                let step = nice((self.to - self.from) / TICKS_MAX);
                let mut at = self.from;
                while at <= self.to {
                    ticks.push((along(at), short(at)));
                    at += step;
                }
            }
            Scale::Log => {
                let mut at = self.from;
                while at <= self.to {
                    ticks.push((along(at), short(10_f64.powf(at))));
                    at += 1.0;
                }
            }
            Scale::Nines => {
                let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
                for (name, place) in names.into_iter().zip((0_u32..).map(f64::from)) {
                    if place <= self.to {
                        ticks.push((along(place), name.to_owned()));
                    }
                }
            }
        }
        ticks
    }
}

/// A step of 1, 2 or 5 times a power of ten that is at least so large.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least).unwrap_or(power * 10.0)
}

/// A number with as many decimals as it needs.
fn short(value: f64) -> String {
    if value.abs() >= 1.0 || value == 0.0 {
        return format!("{value:.1}").trim_end_matches(".0").to_owned();
    }
    format!("{value:.3}").trim_end_matches('0').to_owned()
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Range::new(self.x.scale, points().map(|(x, _)| *x));
        let y = Range::new(self.y.scale, points().map(|(_, y)| *y));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let at = |along: f64| LEFT + along * (right - LEFT);
        let up = |along: f64| bottom - along * (bottom - TOP);
        let title = escaped(self.title);
        write!(f, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")?;
        for (along, name) in y.ticks() {
            let y = up(along);
            write!(f, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
            write!(
                f,
                "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            )?;
        }
        for (along, name) in x.ticks() {
            let x = at(along);
            write!(f, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            write!(f, "<text x=\"{x:.1}\" y=\"{}\" class=\"middle\">{name}</text>", bottom + 16.0)?;
        }
        let (middle, low) = (f64::midpoint(LEFT, right), HEIGHT - 8.0);
        write!(f, "<text x=\"{middle}\" y=\"{low}\" class=\"middle\">{}</text>", self.x.label)?;
        let half = f64::midpoint(TOP, bottom);
        write!(
            f,
            "<text transform=\"translate(14 {half}) rotate(-90)\" class=\"middle\">{}</text>",
            self.y.label
        )?;
        for (line, number) in self.lines.iter().zip(0..) {
            write!(f, "<path class=\"line c{number}\" d=\"")?;
            let mut command = 'M';
            for (along, high) in line.points.iter().filter_map(|(px, py)| {
                x.along(*px).filter(|along| (0.0..=1.0).contains(along)).zip(y.along(*py))
            }) {
                write!(f, "{command}{:.1} {:.1}", at(along), up(high))?;
                command = 'L';
            }
            write!(f, "\"/>")?;
        }
        write!(f, "</svg><p class=\"key\">")?;
        for (line, number) in self.lines.iter().zip(0..) {
            write!(f, "<span><i class=\"c{number}\"></i>{}</span> ", escaped(&line.name))?;
        }
        write!(f, "</p>")
    }
}

/// A text within HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, points: Vec<(f64, f64)>) -> String {
        let axis = |label| Axis { label, scale: Scale::Linear };
        let (x, y) = (axis("time"), Axis { label: "ms", scale });
        let lines = vec![Line { name: "a < b".to_owned(), points }];
        Plot { title: "it", x, y, lines }.to_string()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let svg = plot(Scale::Linear, vec![(0.0, 0.0), (10.0, 60.0)]);
        assert!(svg.contains("d=\"M64.0 256.0L628.0 12.0\""), "{svg}");
        assert!(svg.contains(">60</text>") && svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn a_logarithmic_axis_has_whole_powers_and_no_zero() {
        let svg = plot(Scale::Log, vec![(0.0, 0.0), (1.0, 0.5), (2.0, 50.0)]);
        for tick in [">0.1<", ">1<", ">10<", ">100<"] {
            assert!(svg.contains(tick), "{tick}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nines_are_spread_evenly() {
        let range = Range::new(Scale::Nines, [0.0, 0.9, 0.999, 1.0].into_iter());
        let at = |share| range.along(share).unwrap();
        assert!((at(0.9) - 1.0 / 3.0).abs() < 1e-9 && (at(0.99) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(range.along(1.0), None);
    }

    #[test]
    fn a_plot_of_nothing_is_whole() {
        let svg = plot(Scale::Log, Vec::new());
        assert!(svg.contains("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
