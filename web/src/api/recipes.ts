/** The service that reads recipes. */

import { createClient } from "@connectrpc/connect";
import { RecipeService } from "@/gen/pingvas/generation/v1/recipe_service_pb";
import { transport } from "./transport";

export const recipes = createClient(RecipeService, transport);
