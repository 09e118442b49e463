//! `GET /v1/openapi.json`: the API for programs, made of its routes and types.

use std::sync::LazyLock;

use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
    Schema,
};

use crate::api::route::Route;
use crate::api::types::{
    AreaStatus, Change, ChangeOutcome, ChangeProgress, ErrorBody, Event, ExportStatus, GroupConfig,
    GroupRecording, GroupStatus, HeldAlone, KeptManifests, NodeStatus, OperationStatus, ResolveRequest,
    TakeoverOutcome, TakeoverProgress, TakeoverRequest, VerifyOutcome, VerifyProgress, VerifyRequest,
};

/// A type under its name.
struct Named {
    name: &'static str,
    schema: fn() -> RefOr<Schema>,
    /// The types in it.
    inner: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Named {
    const fn of<T: ToSchema>(name: &'static str) -> Self {
        Self { name, schema: T::schema, inner: T::schemas }
    }

    fn reference(&self) -> Ref {
        Ref::from_schema_name(self.name)
    }
}

/// What a route answers.
enum Answer {
    One(Named),
    List(Named),
    /// A line of JSON for each step.
    Lines(Named),
    Text,
    /// Bytes as they are.
    Bytes,
    /// Any JSON.
    Json,
}

const REFUSAL: Named = Named::of::<ErrorBody>("ErrorBody");
const REQUEST: Named = Named::of::<TakeoverRequest>("TakeoverRequest");
const VERIFY: Named = Named::of::<VerifyRequest>("VerifyRequest");
const RESOLVE: Named = Named::of::<ResolveRequest>("ResolveRequest");

/// Types that no route answers as a whole: those that come in, or stand in others in place of a parameter.
const UNANSWERED: [Named; 7] = [
    REFUSAL,
    REQUEST,
    RESOLVE,
    VERIFY,
    Named::of::<VerifyOutcome>("VerifyOutcome"),
    Named::of::<TakeoverOutcome>("TakeoverOutcome"),
    Named::of::<ChangeOutcome>("ChangeOutcome"),
];

const fn answer(route: Route) -> Answer {
    match route {
        Route::Status => Answer::One(Named::of::<NodeStatus>("NodeStatus")),
        Route::Group => Answer::One(Named::of::<GroupStatus>("GroupStatus")),
        Route::GroupConfig => Answer::One(Named::of::<GroupConfig>("GroupConfig")),
        Route::Manifests => Answer::One(Named::of::<KeptManifests>("KeptManifests")),
        Route::LastTakeover => Answer::One(Named::of::<TakeoverProgress>("TakeoverProgress")),
        Route::Takeover => Answer::Lines(Named::of::<TakeoverProgress>("TakeoverProgress")),
        Route::Verify => Answer::Lines(Named::of::<VerifyProgress>("VerifyProgress")),
        Route::Change(_) | Route::Cancel => Answer::Lines(Named::of::<ChangeProgress>("ChangeProgress")),
        Route::Alone => Answer::One(Named::of::<HeldAlone>("HeldAlone")),
        Route::AloneData => Answer::Bytes,
        Route::Trace => Answer::One(Named::of::<GroupRecording>("GroupRecording")),
        Route::Areas => Answer::List(Named::of::<AreaStatus>("AreaStatus")),
        Route::Exports => Answer::List(Named::of::<ExportStatus>("ExportStatus")),
        Route::Events => Answer::List(Named::of::<Event>("Event")),
        Route::Operations => Answer::List(Named::of::<OperationStatus>("OperationStatus")),
        Route::Operation => Answer::One(Named::of::<OperationStatus>("OperationStatus")),
        Route::Metrics => Answer::Text,
        Route::OpenApi | Route::Stop => Answer::Json,
    }
}

/// The document as it is answered.
pub fn json() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());
    &TEXT
}

fn document() -> OpenApi {
    let mut schemas = Vec::new();
    let mut add = |named: &Named| {
        schemas.push((named.name.to_owned(), (named.schema)()));
        (named.inner)(&mut schemas);
    };
    for named in &UNANSWERED {
        add(named);
    }
    let mut paths = PathsBuilder::new();
    for route in Route::all() {
        match answer(route) {
            Answer::One(named) | Answer::List(named) | Answer::Lines(named) => add(&named),
            Answer::Text | Answer::Bytes | Answer::Json => {}
        }
        let method = if route.is_post() { HttpMethod::Post } else { HttpMethod::Get };
        paths = paths.path(route.path(), PathItem::new(method, operation(route)));
    }
    let info = InfoBuilder::new()
        .title("Midspan")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The operator's API of a node, on its unix socket. A field that is not known is null, never zero. Times are \
             nanoseconds since 1970 unless the name says otherwise.",
        ))
        .build();
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components)).build()
}

fn operation(route: Route) -> OperationBuilder {
    let path = route.path();
    let in_path = path.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| {
        let meaning = if name == "name" { "name of the group" } else { "number of the operation" };
        one(name, meaning, ParameterIn::Path, Required::True)
    });
    let in_query =
        route.query().iter().map(|found| one(found.name, found.meaning, ParameterIn::Query, Required::False));
    let parameters: Vec<Parameter> = in_path.chain(in_query).collect();
    let mut operation = OperationBuilder::new()
        .summary(Some(route.summary()))
        .operation_id(Some(name(route)))
        .parameters(Some(parameters))
        .response("200", good(&answer(route)));
    let asked = if route == Route::Takeover {
        Some((REQUEST, Required::False))
    } else if route == Route::Verify {
        Some((VERIFY, Required::False))
    } else {
        (route == Route::Change(Change::Resolve)).then_some((RESOLVE, Required::True))
    };
    if let Some((asked, required)) = asked {
        let content = ContentBuilder::new().schema(Some(asked.reference())).build();
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(required)).build();
        operation = operation.request_body(Some(body));
    }
    let content = ContentBuilder::new().schema(Some(REFUSAL.reference())).build();
    let refusal = ResponseBuilder::new()
        .description("A refusal: 400 for what is not understood, 404 for what is not known, 409 where the state forbids it")
        .content("application/json", content)
        .build();
    operation.response("default", refusal)
}

/// A name that programs can use: the method and the fixed parts of the path.
fn name(route: Route) -> String {
    let path = route.path();
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != "v1" && !part.starts_with('{'));
    let method = if route.is_post() { "post" } else { "get" };
    let singular = if path.ends_with('}') { "_one" } else { "" };
    format!("{method}_{}{singular}", parts.collect::<Vec<_>>().join("_").replace('.', "_"))
}

fn one(name: &str, meaning: &str, place: ParameterIn, required: Required) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(meaning))
        .schema(Some(Schema::from(text)))
        .build()
}

fn good(answer: &Answer) -> Response {
    let (kind, content) = match answer {
        Answer::One(named) => {
            ("application/json", ContentBuilder::new().schema(Some(named.reference())).build())
        }
        Answer::List(named) => {
            let list = ArrayBuilder::new().items(named.reference()).build();
            ("application/json", ContentBuilder::new().schema(Some(Schema::from(list))).build())
        }
        Answer::Lines(named) => {
            ("application/x-ndjson", ContentBuilder::new().schema(Some(named.reference())).build())
        }
        Answer::Text => ("text/plain", ContentBuilder::new().build()),
        Answer::Bytes => ("application/octet-stream", ContentBuilder::new().build()),
        Answer::Json => ("application/json", ContentBuilder::new().build()),
    };
    let description = match answer {
        Answer::Lines(_) => "A line of JSON for each step; the last one has `outcome` or `error`",
        Answer::One(_) | Answer::List(_) | Answer::Text | Answer::Bytes | Answer::Json => "The answer",
    };
    ResponseBuilder::new().description(description).content(kind, content).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn read() -> Value {
        serde_json::from_str(json()).unwrap()
    }

    /// Every `$ref` below a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = read();
        let mut expected = BTreeSet::new();
        for route in Route::all() {
            let method = if route.is_post() { "post" } else { "get" };
            let operation = &document["paths"][route.path()][method];
            assert_eq!(operation["summary"], route.summary(), "{route}");
            assert!(
                operation["responses"]["200"].is_object() && operation["responses"]["default"].is_object()
            );
            expected.insert(format!("{} {method}", route.path()));
        }
        let methods = |(path, item): (&String, &Value)| {
            item.as_object().unwrap().keys().map(|method| format!("{path} {method}")).collect::<Vec<_>>()
        };
        let found: BTreeSet<String> =
            document["paths"].as_object().unwrap().iter().flat_map(methods).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_type_that_is_named_is_described() {
        let document = read();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 15, "{found:?}");
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            let schema = &document["components"]["schemas"][name];
            assert!(schema.is_object(), "{reference} is not there");
        }
        let outcome = &document["components"]["schemas"]["TakeoverOutcome"]["properties"]["statement"];
        assert!(outcome["description"].as_str().unwrap().contains("answered writes lost: 0"), "{outcome}");
    }

    #[test]
    fn what_must_be_said_is_in_the_document() {
        let document = read();
        let body = &document["paths"]["/v1/groups/{name}/resolve"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
        assert_eq!(
            body["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/ResolveRequest"
        );
        assert_eq!(document["components"]["schemas"]["ResolveRequest"]["required"][0], "keep");
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let names: Vec<String> = Route::all().map(name).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
