import type { MessageInitShape } from "@bufbuild/protobuf";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { users } from "@/api/clients";
import type { UpdateMeRequestSchema } from "@/gen/pingvas/user/v1/user_service_pb";

const ME = ["me"];

export function useMe() {
  return useQuery({ queryKey: ME, queryFn: () => users.getMe({}) });
}

export function useUpdateMe() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (change: MessageInitShape<typeof UpdateMeRequestSchema>) => users.updateMe(change),
    onSuccess: (user) => queries.setQueryData(ME, user),
  });
}
