/** The service that tells what a gallery holds as a whole. */

import { createClient } from "@connectrpc/connect";
import { LibraryService } from "@/gen/pingvas/gallery/v1/library_service_pb";
import { transport } from "./transport";

export const library = createClient(LibraryService, transport);
