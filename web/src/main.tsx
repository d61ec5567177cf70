import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./styles.css";
import { isWorthRetrying, retryDelayMs } from "./api/retries";
import { restoreSession, sessionState, subscribeToSession } from "./api/session";
import { router } from "./app/router";
import { startTheme } from "./app/theme";
import { forgetPrompts } from "./features/generate/prompt/history";
import { startLanguage } from "./i18n";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: isWorthRetrying,
      retryDelay: retryDelayMs,
    },
  },
});

// Nothing of one person stays for the next. What anybody may know stays: a page that shows it would wait in vain.
subscribeToSession(() => {
  if (sessionState() !== "signedOut") return;
  forgetPrompts();
  queries.removeQueries({ predicate: (query) => !query.meta?.isPublic });
  queries.getMutationCache().clear();
});

startTheme();
void restoreSession();
void startLanguage().then(draw);

function draw() {
  const root = document.getElementById("root");
  if (!root) throw new Error("the page has no #root");
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
