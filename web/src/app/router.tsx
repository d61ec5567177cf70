import { createRootRoute, createRoute, createRouter, Link, Outlet } from "@tanstack/react-router";
import { useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { sessionState, subscribeToSession } from "@/api/session";
import { SignInPage } from "@/features/account/SignInPage";
import { GalleryPage } from "@/features/gallery/GalleryPage";
import { GeneratePage } from "@/features/generate/GeneratePage";
import { Shell } from "./Shell";

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound });

/** Everything that needs an account; who has none sees the sign-in in its place, and lands where they wanted to go. */
const inside = createRoute({ getParentRoute: () => root, id: "inside", component: Inside });
const generate = createRoute({ getParentRoute: () => inside, path: "/", component: GeneratePage });
const gallery = createRoute({
  getParentRoute: () => inside,
  path: "/gallery",
  component: GalleryPage,
  validateSearch: (search: Record<string, unknown>): { image?: string } =>
    typeof search.image === "string" ? { image: search.image } : {},
});

export const router = createRouter({
  routeTree: root.addChildren([inside.addChildren([generate, gallery])]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

function Inside() {
  const session = useSyncExternalStore(subscribeToSession, sessionState);
  const { t } = useTranslation();
  if (session === "restoring") {
    return <p className="flex h-full items-center justify-center text-muted">{t("account.restoring")}</p>;
  }
  return session === "signedIn" ? <Shell /> : <SignInPage />;
}

function NotFound() {
  const { t } = useTranslation();
  return (
    <div className="flex h-full flex-col items-center justify-center gap-3">
      <p className="text-lg">{t("app.notFound")}</p>
      <Link to="/" className="text-accent underline">
        {t("app.home")}
      </Link>
    </div>
  );
}
