using SafetyFilter.Sidecar.Hosting;

return await SidecarHost.RunAsync(args);
