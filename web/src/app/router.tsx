import {
  createRootRoute,
  createRoute,
  createRouter,
  Link,
  lazyRouteComponent,
  Navigate,
  Outlet,
} from "@tanstack/react-router";
import { lazy, Suspense, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { problemOf } from "@/api/problem";
import { sessionState, subscribeToSession } from "@/api/session";
import { type FailureSearch, failureSearch } from "@/features/account/identities/failure";
import { useMe } from "@/features/account/profile";
import { type AdminSearch, adminSearch } from "@/features/admin/search";
import { type GallerySearch, gallerySearch } from "@/features/gallery/search";
import { type ModelFilter, modelFilter } from "@/features/models/filter";
import { withPlatformWords } from "@/i18n";
import { Shell } from "./Shell";

// Who is signed in doesn't need it.
const SignInPage = lazy(async () => ({
  default: (await import("@/features/account/SignInPage")).SignInPage,
}));

const ClosedPage = lazy(async () => ({
  default: (await import("@/features/account/deletion/ClosedPage")).ClosedPage,
}));

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound });

const pricing = createRoute({
  getParentRoute: () => root,
  path: "/pricing",
  component: lazyRouteComponent(() => import("@/features/billing/PricingPage"), "PricingPage"),
});

const status = createRoute({
  getParentRoute: () => root,
  path: "/status",
  component: lazyRouteComponent(
    () => withPlatformWords(() => import("@/features/status/StatusPage")),
    "StatusPage",
  ),
});

/** Everything that needs an account; who has none sees the sign-in in its place, and lands where they wanted to go. */
const inside = createRoute({ getParentRoute: () => root, id: "inside", component: Inside });
const generate = createRoute({
  getParentRoute: () => inside,
  path: "/",
  component: lazyRouteComponent(() => import("@/features/generate/GeneratePage"), "GeneratePage"),
});
const gallery = createRoute({
  getParentRoute: () => inside,
  path: "/gallery",
  component: lazyRouteComponent(() => import("@/features/gallery/GalleryPage"), "GalleryPage"),
  validateSearch: (search: Record<string, unknown>): GallerySearch => gallerySearch(search),
});

const models = createRoute({
  getParentRoute: () => inside,
  path: "/models",
  component: lazyRouteComponent(() => import("@/features/models/ModelsPage"), "ModelsPage"),
  validateSearch: (search: Record<string, unknown>): ModelFilter => modelFilter(search),
});
const edit = createRoute({
  getParentRoute: () => inside,
  path: "/edit/$imageId",
  component: lazyRouteComponent(() => import("@/features/editor/EditPage"), "EditPage"),
});

const admin = createRoute({
  getParentRoute: () => inside,
  path: "/admin/$section",
  component: lazyRouteComponent(
    () => withPlatformWords(() => import("@/features/admin/AdminPage")),
    "AdminPage",
  ),
  validateSearch: (search: Record<string, unknown>): AdminSearch => adminSearch(search),
});

/** For everybody, with or without an account. */
const shared = createRoute({
  getParentRoute: () => root,
  path: "/shared/$shareToken",
  component: lazyRouteComponent(() => import("@/features/shared/SharedPage"), "SharedPage"),
});
/** Where the bridge sends whoever came back from a provider, and why that failed. */
const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: SignIn,
  validateSearch: failureSearch,
});
const identities = createRoute({
  getParentRoute: () => inside,
  path: "/account/identities",
  component: lazyRouteComponent(
    () => import("@/features/account/identities/IdentitiesPage"),
    "IdentitiesPage",
  ),
  validateSearch: failureSearch,
});
const security = createRoute({
  getParentRoute: () => inside,
  path: "/account/security",
  component: lazyRouteComponent(() => import("@/features/account/security/SecurityPage"), "SecurityPage"),
});
const billing = createRoute({
  getParentRoute: () => inside,
  path: "/billing",
  component: lazyRouteComponent(() => import("@/features/billing/BillingPage"), "BillingPage"),
  validateSearch: (search: Record<string, unknown>): { paid?: boolean } =>
    search.paid === true ? { paid: true } : {},
});

const account = createRoute({
  getParentRoute: () => inside,
  path: "/account",
  component: lazyRouteComponent(() => import("@/features/account/AccountPage"), "AccountPage"),
});

const usage = createRoute({
  getParentRoute: () => inside,
  path: "/account/usage",
  component: lazyRouteComponent(() => import("@/features/account/usage/UsagePage"), "UsagePage"),
});

/** Where the mail to a new address leads: whoever asked for it must be signed in. */
const confirmEmail = createRoute({
  getParentRoute: () => inside,
  path: "/confirm-email",
  component: lazyRouteComponent(
    () => import("@/features/account/email/ConfirmEmailPage"),
    "ConfirmEmailPage",
  ),
});

/** Where mails lead; nobody needs to be signed in there. */
const verifyEmail = createRoute({
  getParentRoute: () => root,
  path: "/verify-email",
  component: lazyRouteComponent(() => import("@/features/account/VerifyEmailPage"), "VerifyEmailPage"),
});
const undoEmail = createRoute({
  getParentRoute: () => root,
  path: "/undo-email",
  component: lazyRouteComponent(() => import("@/features/account/email/UndoEmailPage"), "UndoEmailPage"),
});
const forgotPassword = createRoute({
  getParentRoute: () => root,
  path: "/forgot-password",
  component: lazyRouteComponent(() => import("@/features/account/ForgotPasswordPage"), "ForgotPasswordPage"),
});
const resetPassword = createRoute({
  getParentRoute: () => root,
  path: "/reset-password",
  component: lazyRouteComponent(() => import("@/features/account/ResetPasswordPage"), "ResetPasswordPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    pricing,
    status,
    shared,
    signIn,
    verifyEmail,
    undoEmail,
    forgotPassword,
    resetPassword,
    inside.addChildren([
      generate,
      gallery,
      edit,
      models,
      admin,
      billing,
      account,
      identities,
      security,
      usage,
      confirmEmail,
    ]),
  ]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

function Inside() {
  const session = useSyncExternalStore(subscribeToSession, sessionState);
  if (session === "restoring") return <Restoring />;
  return session === "signedIn" ? <Account /> : <Entry />;
}

/** The studio, or the way back into an account that is closed. */
function Account() {
  const { error } = useMe();
  if (!error || problemOf(error).reason !== "ACCOUNT_CLOSED") return <Shell />;
  return (
    <Suspense fallback={<Restoring />}>
      <ClosedPage />
    </Suspense>
  );
}

function SignIn() {
  const session = useSyncExternalStore(subscribeToSession, sessionState);
  const { step, ...failure } = signIn.useSearch();
  return session === "signedIn" ? (
    <Navigate to="/" />
  ) : (
    <Entry failure={failure} wantsCode={step === "code"} />
  );
}

function Entry(props: { failure?: FailureSearch; wantsCode?: boolean }) {
  return (
    <Suspense fallback={<Restoring />}>
      <SignInPage {...props} />
    </Suspense>
  );
}

function Restoring() {
  const { t } = useTranslation();
  return <p className="flex h-full items-center justify-center text-muted">{t("account.restoring")}</p>;
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
