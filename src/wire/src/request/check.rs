//! What a request may ask of a model, and the bounds of what it can use.

use opencredits_schema::{
    CacheClass, Demand, Model, PriceBook, Provider, ServerTool, Tier, ToolCalls,
};

use super::{BadRequest, CacheMark, Kind, Purpose, Quoted, Request, Search, Tool};

/// Runs of provider-side code that are held for: the provider takes no bound on them.
pub(super) const CODE_RUNS_MAX: u64 = 20;
/// The most output tokens of an advisor's pass that has no limit of its own.
const ADVICE_OUTPUT_MAX: u64 = 16_384;
/// The most output tokens of a pass that compacts the conversation.
const COMPACTION_OUTPUT_MAX: u64 = 16_384;
/// Output of the answer so far that an advisor reads as input, above the request's own input.
const ADVICE_INPUT_EXTRA: u64 = 16_384;

impl Request {
    /// Refuses what this model does not serve and what the price book does not price.
    ///
    /// # Errors
    /// [`BadRequest`] that names the field.
    pub fn check(&self, book: &PriceBook, model: &Model) -> Result<(), BadRequest> {
        self.check_route(model)?;
        if self.purpose == Purpose::Count {
            return Ok(());
        }
        self.asked_tier(model)?;
        self.check_place(model)?;
        self.check_search(model)?;
        self.tools.iter().try_for_each(|tool| check_tool(tool, book, model))
    }

    /// The bounds of what the request can use, without its output: that is [`Request::output`]'s,
    /// and the caller fills it in. `input` is one of the bounds that this type counts.
    ///
    /// # Errors
    /// [`BadRequest`] for a tier that the model does not price, as [`Request::check`].
    pub fn demand(&self, model: &Model, input: u64) -> Result<Demand, BadRequest> {
        let asked = self.asked_tier(model)?;
        Ok(Demand {
            input,
            output: 0,
            cache: match self.cache {
                CacheMark::None => CacheClass::None,
                CacheMark::FiveMinutes => CacheClass::FiveMinutes,
                CacheMark::OneHour => CacheClass::OneHour,
            },
            audio: self.media.iter().any(crate::bound::Media::is_audio),
            tiers: reachable(asked, model),
            geo: self.inference_geo.as_deref() == Some("us"),
            tool_calls: self.tool_calls(model),
            passes: self.passes(input),
        })
    }

    /// The tier that the request asks for, by `service_tier` or `speed`.
    fn asked_tier(&self, model: &Model) -> Result<Tier, BadRequest> {
        let service = self.service_tier.as_ref().map_or("", |tier| &tier.value);
        let service_tier = match (service, model.provider) {
            ("" | "auto", _) | ("default", Provider::OpenAi | Provider::XAi | Provider::Google) => {
                Some(Tier::Standard)
            }
            ("standard_only", Provider::Anthropic) => Some(Tier::Standard),
            ("flex", Provider::OpenAi | Provider::XAi | Provider::Google) => Some(Tier::Flex),
            ("priority", Provider::OpenAi | Provider::XAi | Provider::Google) => {
                Some(Tier::Priority)
            }
            ("fast", Provider::OpenAi | Provider::XAi | Provider::Google) => Some(Tier::Fast),
            _ => None,
        };
        let service_tier = service_tier.filter(|tier| model.prices_tier(*tier));
        let service_tier = service_tier.ok_or_else(|| unpriced("service_tier", service, model))?;
        let speed = self.speed.as_deref().unwrap_or_default();
        match speed {
            "" | "standard" => Ok(service_tier),
            "fast" if model.provider == Provider::Anthropic && model.prices_tier(Tier::Fast) => {
                Ok(Tier::Fast)
            }
            _ => Err(unpriced("speed", speed, model)),
        }
    }

    fn check_place(&self, model: &Model) -> Result<(), BadRequest> {
        match self.inference_geo.as_deref() {
            None | Some("") => Ok(()),
            Some(geo) if model.prices_geo(geo) => Ok(()),
            Some(geo) => Err(unpriced("inference_geo", geo, model)),
        }
    }

    fn check_search(&self, model: &Model) -> Result<(), BadRequest> {
        let name = match self.search {
            Search::None if searches_always(model) => "model",
            Search::None => return Ok(()),
            Search::Web => "web_search_options",
            Search::Live(_) => "search_parameters",
        };
        if model.prices_tool(ServerTool::WebSearch) {
            return Ok(());
        }
        let message = format!("web search is not available on `{}`", model.id);
        Err(BadRequest::new(message, name))
    }

    fn tool_calls(&self, model: &Model) -> ToolCalls {
        let uses = |kind| {
            let own = self.tools.iter().filter(|tool| tool.kind == kind);
            own.map(Tool::uses).fold(0, u64::saturating_add)
        };
        let searches = match self.search {
            // Each answer may search once.
            Search::Web => self.n,
            Search::None if searches_always(model) => self.n,
            Search::None => 0,
            Search::Live(results) => results,
        };
        let runs_code = self.tools.iter().any(|tool| tool.kind == Kind::CodeExecution);
        ToolCalls {
            web_search: uses(Kind::WebSearch).saturating_add(searches),
            web_fetch: uses(Kind::WebFetch),
            code_execution: if runs_code { CODE_RUNS_MAX } else { 0 },
            ..ToolCalls::default()
        }
    }

    /// The passes beside the answer's own: each advice, and a compaction.
    fn passes(&self, input: u64) -> Vec<(Option<String>, u64, u64)> {
        let advice = self.tools.iter().filter(|tool| tool.kind == Kind::Advisor).flat_map(|tool| {
            let output = tool.max_tokens.unwrap_or(ADVICE_OUTPUT_MAX);
            let pass = (tool.model.clone(), input.saturating_add(ADVICE_INPUT_EXTRA), output);
            (0..tool.uses()).map(move |_| pass.clone())
        });
        let compaction = self.compacts.then_some((None, input, COMPACTION_OUTPUT_MAX));
        advice.chain(compaction).collect()
    }

    /// The service tier as it stands in the request.
    pub(super) fn service_tier(&self) -> Option<&Quoted> {
        self.service_tier.as_ref()
    }
}

/// A tier asked for may be answered on the standard one, and OpenAI may call `fast` `priority`.
fn reachable(asked: Tier, model: &Model) -> Vec<Tier> {
    let mut tiers = vec![Tier::Standard];
    if asked != Tier::Standard {
        tiers.push(asked);
    }
    let renamed = asked == Tier::Fast && model.provider != Provider::Anthropic;
    if renamed && model.prices_tier(Tier::Priority) {
        tiers.push(Tier::Priority);
    }
    tiers
}

/// OpenAI's models that search the web for every answer.
fn searches_always(model: &Model) -> bool {
    model.provider == Provider::OpenAi && model.upstream_id.contains("-search-")
}

fn unpriced(field: &str, value: &str, model: &Model) -> BadRequest {
    let value: String = value.chars().take(40).collect();
    BadRequest::new(format!("`{field}`: `{value}` is not available on `{}`", model.id), field)
}

/// A tool of the provider needs a bound or a price, or it is refused.
fn check_tool(tool: &Tool, book: &PriceBook, model: &Model) -> Result<(), BadRequest> {
    let anthropic = model.provider == Provider::Anthropic;
    let ok = match tool.kind {
        Kind::Custom => true,
        Kind::Client | Kind::ToolSearch => anthropic,
        Kind::WebSearch => anthropic && model.prices_tool(ServerTool::WebSearch),
        Kind::WebFetch => anthropic && model.prices_tool(ServerTool::WebFetch),
        Kind::CodeExecution => anthropic && model.prices_tool(ServerTool::CodeExecution),
        Kind::Advisor => anthropic && knows_advisor(tool, book, model),
        Kind::Unknown => tool.name.is_empty(),
    };
    if ok {
        return Ok(());
    }
    let name: String = tool.name.chars().take(80).collect();
    let message = format!("the tool `{name}` is not available on `{}`", model.id);
    Err(BadRequest::new(message, "tools"))
}

fn knows_advisor(tool: &Tool, book: &PriceBook, model: &Model) -> bool {
    tool.model.as_ref().is_none_or(|advisor| {
        *advisor == model.upstream_id
            || book.model(&format!("{}/{advisor}", model.provider)).is_some()
    })
}
