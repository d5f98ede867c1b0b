//! Views: made, replaced, dropped. What a view says is none of the catalog's business.

use std::sync::Arc;

use super::apply::Outcome;
use super::limits::{TABLES_PER_DATABASE_MAX, VIEW_BYTES_MAX, check_name};
use super::{Catalog, CatalogRejection, CatalogReply, DatabaseId, ExistingView, View};

impl Catalog {
    pub(super) fn create_view(
        &mut self,
        database: &str,
        view: View,
        existing: ExistingView,
    ) -> Outcome {
        let Some(found) = self.database(database) else {
            return Err(CatalogRejection::NoDatabase(database.to_owned()));
        };
        let id = found.id;
        if found.tables.contains_key(&view.name) {
            return Err(CatalogRejection::TableExists(view.name));
        }
        let unchanged = CatalogReply::Unchanged { database: Some(id), table: None };
        if let Some(there) = self.views.get(&(id, view.name.clone())) {
            match existing {
                ExistingView::Replace if **there == view => return Ok(unchanged),
                ExistingView::Replace => {}
                ExistingView::Keep => return Ok(unchanged),
                ExistingView::Refuse => return Err(CatalogRejection::ViewExists(view.name)),
            }
        }
        check_name("view", &view.name)?;
        if view.query.len() > VIEW_BYTES_MAX {
            return Err(CatalogRejection::Limit(format!(
                "the query of view {:?} has {} bytes, more than {VIEW_BYTES_MAX}",
                view.name,
                view.query.len()
            )));
        }
        if self.views_of(id).count() >= TABLES_PER_DATABASE_MAX {
            return Err(CatalogRejection::Limit(format!(
                "database {database:?} has {TABLES_PER_DATABASE_MAX} views, the most it can have"
            )));
        }
        self.views.insert((id, view.name.clone()), Arc::new(view));
        Ok(CatalogReply::Changed { database: Some(id), table: None })
    }

    pub(super) fn drop_view(&mut self, database: &str, name: &str, if_exists: bool) -> Outcome {
        let id = self.database(database).map(|found| found.id);
        let view = id.and_then(|id| self.views.remove(&(id, name.to_owned())));
        self.drop_notes();
        match (id, view) {
            (_, Some(_)) => Ok(CatalogReply::Changed { database: id, table: None }),
            (_, None) if if_exists => Ok(CatalogReply::Unchanged { database: id, table: None }),
            (None, None) => Err(CatalogRejection::NoDatabase(database.to_owned())),
            (Some(_), None) => Err(CatalogRejection::NoView(name.to_owned())),
        }
    }

    /// Views and tables share their names.
    pub(super) fn check_no_view(
        &self,
        database: DatabaseId,
        name: &str,
    ) -> Result<(), CatalogRejection> {
        if self.views.contains_key(&(database, name.to_owned())) {
            return Err(CatalogRejection::ViewExists(name.to_owned()));
        }
        Ok(())
    }
}
