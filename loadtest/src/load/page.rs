//! A result as one HTML page: figures, plots, differences of the books. Nothing is loaded from
//! elsewhere; light and dark as the reader's system is.

use std::fmt;
use std::time::Duration;

use super::job::ratio;
use super::micros::Micros;
use super::plot::{Axis, Line, Plot, Scale, escaped};
use super::record::{Latencies, Window};
use super::result::RunResult;
use super::table::{QUANTILES, drive, millis, rows};

/// A result as a page.
#[derive(Debug)]
pub struct Page<'a>(pub &'a RunResult);

const STYLE: &str = include_str!("page.css");

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = &self.0.setting;
        let name = escaped(&setting.name);
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>Load run: {name}</title>\n\
             <style>\n{STYLE}</style>\n<main>\n<h1>{name}</h1>\n"
        )?;
        let (target, machine) = (escaped(&setting.target), &setting.machine);
        writeln!(
            f,
            "<p>{} at <code>{target}</code>, seed {}, {} CPUs, {}</p>",
            drive(setting.drive),
            setting.seed,
            machine.cpus,
            escaped(&machine.system)
        )?;
        match self.0.failure() {
            Some(why) => writeln!(f, "<p class=\"bad\">Refused: {}</p>", escaped(&why))?,
            None => writeln!(f, "<p class=\"good\">The generator kept up.</p>")?,
        }
        self.tiles(f)?;
        self.latencies(f)?;
        self.plots(f)?;
        self.figures(f)?;
        self.books(f)?;
        self.mix(f)?;
        writeln!(f, "</main>\n</html>")
    }
}

impl Page<'_> {
    fn tiles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.record.whole();
        let seconds = self.0.setting.times.measure.as_secs_f64();
        let rate = ratio(whole.whole, 1).unwrap_or_default() / seconds;
        let added = |share| format!("{} ms", millis(whole.latencies.added.quantile(share)));
        let books = self.0.books.as_ref().map(|books| match books.differences.len() {
            0 => "no difference".to_owned(),
            many => format!("{many} differences"),
        });
        let tiles = [
            ("answers a second", format!("{rate:.1}")),
            ("added, p50", added(0.5)),
            ("added, p99", added(0.99)),
            ("failed", format!("{} of {}", whole.failures(), whole.begun)),
            ("books", books.unwrap_or_else(|| "not looked at".to_owned())),
        ];
        write!(f, "<dl class=\"tiles\">")?;
        for (name, value) in tiles {
            write!(f, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
        }
        writeln!(f, "</dl>")
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<h2>Latency from the moment due, in milliseconds</h2>\n<table><tr><th></th>")?;
        for (name, _) in QUANTILES {
            write!(f, "<th>{name}</th>")?;
        }
        writeln!(f, "<th>count</th></tr>")?;
        for (name, histogram) in rows(&self.0.record.whole().latencies) {
            write!(f, "<tr><th>{name}</th>")?;
            for (_, share) in QUANTILES {
                write!(f, "<td>{}</td>", millis(histogram.quantile(share)))?;
            }
            writeln!(f, "<td>{}</td></tr>", histogram.count())?;
        }
        writeln!(f, "</table>")
    }

    fn plots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.record.whole();
        let lines = rows(&whole.latencies).into_iter().filter(|(_, of)| of.count() > 0);
        let lines = lines.map(|(name, of)| Line { name: name.to_owned(), points: shares(of) });
        let by_share = Plot {
            title: "latency by the share of answers that are quicker",
            x: Axis { label: "share of answers", scale: Scale::Nines },
            y: Axis { label: "milliseconds", scale: Scale::Log },
            lines: lines.collect(),
        };
        writeln!(f, "<h2>Latency by share</h2>\n<figure>{by_share}</figure>")?;
        let latency = |name: &str, share: f64, of: fn(&Latencies) -> &Micros| {
            self.over_time(name, |window| {
                let histogram = of(&window.latencies);
                (histogram.count() > 0).then(|| ms(histogram.quantile(share)))
            })
        };
        let over_time = Plot {
            title: "latency over the measured time",
            x: Axis { label: "seconds", scale: Scale::Linear },
            y: Axis { label: "milliseconds", scale: Scale::Log },
            lines: vec![
                latency("added p50", 0.5, |of| &of.added),
                latency("added p99", 0.99, |of| &of.added),
                latency("total p50", 0.5, |of| &of.total),
                latency("total p99", 0.99, |of| &of.total),
                latency("lateness p99", 0.99, |of| &of.lateness),
            ],
        };
        writeln!(f, "<h2>Latency over time</h2>\n<figure>{over_time}</figure>")?;
        let each = self.window_seconds();
        let count = |name: &str, of: fn(&Window) -> u64| {
            self.over_time(name, |window| ratio(of(window), 1).map(|count| count / each))
        };
        let rates = Plot {
            title: "requests over the measured time",
            x: Axis { label: "seconds", scale: Scale::Linear },
            y: Axis { label: "a second", scale: Scale::Linear },
            lines: vec![
                count("begun", |window| window.begun),
                count("whole", |window| window.whole),
                count("failed", Window::failures),
            ],
        };
        writeln!(f, "<h2>Requests over time</h2>\n<figure>{rates}</figure>")?;
        self.search(f)
    }

    fn search(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.search.is_empty() {
            return Ok(());
        }
        let mut steps = self.0.search.clone();
        steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let points = steps.iter().map(|step| (step.rate, step.added_p99_ms)).collect();
        let plot = Plot {
            title: "what was added to 99 % of the answers, by rate",
            x: Axis { label: "requests a second", scale: Scale::Linear },
            y: Axis { label: "milliseconds", scale: Scale::Log },
            lines: vec![Line { name: "added p99".to_owned(), points }],
        };
        writeln!(f, "<h2>Search for the highest rate</h2>\n<figure>{plot}</figure>\n<pre>")?;
        for step in &steps {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "</pre>")
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generator = &self.0.generator;
        let cpu = generator.cpu_us_per_request().unwrap_or_default();
        writeln!(f, "<h2>Server and generator</h2>\n<table class=\"figures\">")?;
        let own = [
            ("generator: CPU a request", format!("{cpu:.1} µs")),
            ("generator: busiest thread", format!("{:.0} %", generator.busiest * 100.0)),
            ("generator: lateness p99", format!("{} µs", self.0.verdict.lateness_p99_us)),
            ("generator: bound on it", format!("{} µs", self.0.verdict.bound_us)),
        ];
        for (name, value) in self.0.server_lines().into_iter().chain(own) {
            writeln!(f, "<tr><th>{name}</th><td>{value}</td></tr>")?;
        }
        writeln!(f, "</table>")
    }

    fn books(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(books) = self.0.books.as_ref().filter(|books| !books.differences.is_empty())
        else {
            return Ok(());
        };
        writeln!(f, "<h2>Differences of the books</h2>\n<ul class=\"bad\">")?;
        for difference in &books.differences {
            writeln!(f, "<li>{}</li>", escaped(difference))?;
        }
        writeln!(f, "</ul>")
    }

    fn mix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mix = toml::to_string(&self.0.setting.mix).unwrap_or_default();
        writeln!(f, "<details><summary>Mix</summary><pre>{}</pre></details>", escaped(&mix))
    }

    /// A figure of each window, at the window's middle.
    fn over_time(&self, name: &str, of: impl Fn(&Window) -> Option<f64>) -> Line {
        let each = self.window_seconds();
        let middles = (0_u32..).map(|place| (f64::from(place) + 0.5) * each);
        let points = middles.zip(&self.0.record.windows);
        let points = points.filter_map(|(at, window)| Some((at, of(window)?))).collect();
        Line { name: name.to_owned(), points }
    }

    fn window_seconds(&self) -> f64 {
        let windows = u64::try_from(self.0.record.windows.len()).unwrap_or(1).max(1);
        self.0.setting.times.measure.as_secs_f64() / ratio(windows, 1).unwrap_or(1.0)
    }
}

/// The share of answers that are quicker, and the milliseconds.
fn shares(of: &Micros) -> Vec<(f64, f64)> {
    of.above().map(|(took, above)| (1.0 - above, ms(took))).collect()
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::compare::tests::run;
    use crate::load::result::BooksResult;
    use crate::load::search::Step;

    #[test]
    fn a_page_shows_everything_and_loads_nothing() {
        let mut result = run("a <run>", 1_000, 100);
        let differences = vec!["account acc_1: told 1, charged 2".to_owned()];
        result.books = Some(BooksResult { requests: 3, differences });
        let missed = Some("too slow".to_owned());
        result.search = vec![Step { rate: 100.0, added_p99_ms: 3.0, failed: 0.0, missed }];
        let page = Page(&result).to_string();
        for part in [
            "<h1>a &lt;run&gt;</h1>",
            "Refused: the books differ in 1 point",
            "<li>account acc_1: told 1, charged 2</li>",
            "Search for the highest rate",
            "1 differences",
            "openai/gpt-4o-mini",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        for outside in ["<script", "<link", "src=", "url(", "NaN"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
