//! [`PatternRewrite`]: patterns that stand in a statement, sorted out before it is planned.
//!
//! `SIMILAR TO` is a regular expression match to DataFusion, which finds the pattern anywhere in the text. It becomes the
//! match that the SQL standard means. Regular expressions are checked, so that a wrong or huge one is an error of the
//! statement, and not of the row that is reached first.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Like, Operator};

use super::limits::check;
use super::similar::regex_of;

/// The rewrite of patterns.
#[derive(Debug)]
pub(crate) struct PatternRewrite;

impl FunctionRewrite for PatternRewrite {
    fn name(&self) -> &'static str {
        "patterns"
    }

    fn rewrite(
        &self,
        expr: Expr,
        _schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::SimilarTo(like) => similar(like).map(Transformed::yes),
            Expr::BinaryExpr(BinaryExpr { ref right, op, .. }) if is_match(op) => {
                if let Some(pattern) = constant(right) {
                    check(pattern).map_err(DataFusionError::Plan)?;
                }
                Ok(Transformed::no(expr))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn is_match(op: Operator) -> bool {
    matches!(
        op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
    )
}

/// The text that an expression is, types settled or not.
fn constant(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        Expr::Cast(cast) => constant(&cast.expr),
        _ => None,
    }
}

fn similar(like: Like) -> Result<Expr> {
    let Like { negated, expr, pattern, escape_char, case_insensitive: _ } = like;
    let op = if negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
    if let Expr::Literal(value, _) = pattern.as_ref()
        && value.is_null()
    {
        return Ok(Expr::Literal(ScalarValue::Boolean(None), None));
    }
    let Some(text) = constant(&pattern) else {
        return Err(DataFusionError::Plan(format!(
            "the pattern of SIMILAR TO is a text in the statement or a parameter, not {pattern}"
        )));
    };
    let regex = regex_of(text, escape_char).map_err(DataFusionError::Plan)?;
    check(&regex).map_err(|e| DataFusionError::Plan(format!("SIMILAR TO {text:?}: {e}")))?;
    let pattern = with_text(&pattern, regex);
    Ok(Expr::BinaryExpr(BinaryExpr::new(expr, op, Box::new(pattern))))
}

/// A constant of the same type with another text.
fn with_text(constant: &Expr, text: String) -> Expr {
    match constant {
        Expr::Cast(cast) => {
            let expr = Box::new(with_text(&cast.expr, text));
            Expr::Cast(Cast { expr, ..cast.clone() })
        }
        Expr::Literal(ScalarValue::Utf8View(_), _) => {
            Expr::Literal(ScalarValue::Utf8View(Some(text)), None)
        }
        Expr::Literal(ScalarValue::LargeUtf8(_), _) => {
            Expr::Literal(ScalarValue::LargeUtf8(Some(text)), None)
        }
        _ => Expr::Literal(ScalarValue::Utf8(Some(text)), None),
    }
}
